import { type Readable, Transform } from 'node:stream'
import { type Actor, type Blob, formatBytes, ProblemError } from '../../contract/index.ts'
import { demand } from './access.ts'
import type { ServiceDeps } from './context.ts'

export interface Upload {
  readonly sha256?: string | undefined
  /** What the client said it would send. */
  readonly bytes?: number | undefined
}

export interface BlobService {
  /** Durable on two nodes (one where only one exists) and known to the cluster when resolved. */
  create(actor: Actor, body: Readable, upload: Upload): Promise<Blob>
}

export const mostUploads = 16
/** Time for the second copy: a minute, and more for large files, at 4 MB/s. */
const copyMs = (bytes: number) => 60_000 + Math.ceil(bytes / 4000)

export function createBlobs(deps: ServiceDeps): BlobService {
  const { cluster, blobs, space, maxUpload = 64 * 1024 ** 3 } = deps
  let running = 0

  async function store(actor: Actor, body: Readable, { sha256: promised }: Upload): Promise<Blob> {
    const { sha256, bytes } = await blobs.put(
      limited(body, maxUpload),
      promised === undefined ? {} : { sha256: promised },
    )
    const holders = await copied(deps, sha256, bytes)
    await cluster.propose({ type: 'blob.create', sha256, bytes, holders }, actor)
    return { sha256, bytes, copies: holders.length }
  }

  return {
    async create(actor, body, upload) {
      demand(actor, 'blob:create')
      if ((upload.bytes ?? 0) > maxUpload) throw tooLarge(maxUpload)
      if (running >= mostUploads) throw new ProblemError('busy', `${running} uploads run already`)
      space.check()
      running++
      try {
        return await store(actor, body, upload)
      } finally {
        running--
      }
    },
  }
}

/** The nodes that have it once a second one does; throws when none can be had. */
export async function copied(
  { cluster, blobs }: ServiceDeps,
  sha256: string,
  bytes: number,
  together?: string,
): Promise<string[]> {
  const signal = AbortSignal.timeout(copyMs(bytes))
  const holders = await blobs.replicate(sha256, signal, together).catch((cause: unknown) => {
    if (cause instanceof ProblemError) throw cause
    throw new ProblemError('node_unreachable', 'no second node took a copy', { cause })
  })
  if (holders.length < 2 && cluster.state().nodes.size > 1)
    throw new ProblemError('node_unreachable', 'no second node took a copy')
  return holders
}

export function limited(body: Readable, most: number): Readable {
  let size = 0
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      if (size > most) done(tooLarge(most))
      else done(null, chunk)
    },
  })
  body.once('error', (error) => counter.destroy(error))
  // A client that leaves half-way must not leave half a file that looks whole.
  body.once('close', () => {
    if (!body.readableEnded) counter.destroy(new Error('the upload was cut off'))
  })
  return body.pipe(counter)
}

export const tooLarge = (most: number) =>
  new ProblemError('too_large', `an upload may have at most ${formatBytes(most)}`)
