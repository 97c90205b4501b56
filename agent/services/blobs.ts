import { type Readable, Transform } from 'node:stream'
import { type Actor, actorName, type Blob, formatBytes, ProblemError } from '../../contract/index.ts'
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
    await cluster.propose({ type: 'blob.create', sha256, bytes, holders, by: actorName(actor) }, actor)
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
export function copied(deps: ServiceDeps, sha256: string, bytes: number): Promise<string[]> {
  return replicated(deps, sha256, AbortSignal.timeout(copyMs(bytes)))
}

/**
 * The nodes that have all of it once a second one does. A node that is silent for a moment has one file in between go
 * elsewhere: then another round brings what is lacking to the node that is first by now.
 */
export async function copiedTogether(
  deps: ServiceDeps,
  files: readonly { readonly sha256: string; readonly bytes: number }[],
  together: string,
): Promise<string[]> {
  const signal = AbortSignal.timeout(copyMs(files.reduce((sum, { bytes }) => sum + bytes, 0)))
  for (;;) {
    let common: string[] | undefined
    for (const { sha256 } of files) {
      const now = await replicated(deps, sha256, signal, together)
      common = (common ?? now).filter((node) => now.includes(node))
    }
    const holders = common ?? [deps.cluster.self.node]
    if (holders.length > 1 || deps.cluster.state().nodes.size < 2 || !common) return holders
  }
}

async function replicated(
  { cluster, blobs }: ServiceDeps,
  sha256: string,
  signal: AbortSignal,
  together?: string,
): Promise<string[]> {
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
