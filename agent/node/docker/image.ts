import type { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { StartFailure } from '../runtime.ts'
import { gone, messageOf, statusOf } from './engine.ts'

/** Have the image on this engine, pulling it when it is absent. Throws StartFailure `image_missing`. */
export async function ensureImage(docker: Docker, image: string, signal?: AbortSignal): Promise<void> {
  if (await docker.getImage(image).inspect().catch(gone)) return
  try {
    await pull(docker, image, signal)
  } catch (error) {
    signal?.throwIfAborted()
    // Without an answer the engine itself is down; that is no fault of the image.
    if (statusOf(error) === undefined && !(error instanceof PullError)) throw error
    throw missing(image, messageOf(error), error)
  }
  // A registry may answer well and yet hold nothing for this machine's architecture.
  if (!(await docker.getImage(image).inspect().catch(gone)))
    throw missing(image, 'the registry has no image for this kind of machine')
}

function missing(image: string, why: string, cause?: unknown): StartFailure {
  return new StartFailure(
    'image_missing',
    `The image ${image} is not on this host and could not be pulled: ${why.trim()}. ` +
      `Check its name, make the registry reachable from this host, or bring it with "docker load" (docker save ${image} on a host that has it).`,
    cause,
  )
}

class PullError extends Error {}

async function pull(docker: Docker, image: string, signal?: AbortSignal): Promise<void> {
  const tagged = /@|:[^/]*$/.test(image) ? image : `${image}:latest`
  const progress = (await docker.pull(tagged, signal ? { abortSignal: signal } : {})) as Readable
  const stop = () => progress.destroy()
  signal?.addEventListener('abort', stop)
  try {
    let rest = ''
    for await (const chunk of progress) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      lines.forEach(throwIfError)
    }
    throwIfError(rest)
    signal?.throwIfAborted()
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

/** The engine answers 200 before it begins; what goes wrong later stands in a line of its progress. */
function throwIfError(line: string): void {
  if (!line.trim()) return
  const { error } = JSON.parse(line) as { error?: string }
  if (error) throw new PullError(error)
}
