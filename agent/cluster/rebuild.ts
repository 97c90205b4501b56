import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { type LogStore, type RaftDriver, splitRows } from '../../raft/index.ts'
import { digestOf } from '../store/state-db.ts'
import type { Cluster } from './cluster.ts'
import { writeFileDurably } from './identity/files.ts'
import { readImage } from './image.ts'

const header = 'submarine-image'
const imageFile = 'rebuild.image'
const markFile = 'rebuild.json'
const waitMs = 30_000

const Ids = z.array(z.int().positive())
/** What an image of a healthy replica stands for. */
const Image = z.object({
  index: z.int().positive(),
  term: z.int().positive(),
  conf: z.object({
    voters: Ids,
    votersOutgoing: Ids,
    learners: Ids,
    learnersNext: Ids,
    autoLeave: z.boolean(),
  }),
  digest: z.number(),
})
type Image = z.infer<typeof Image>

interface Log {
  warn(fields: object, message: string): void
}

/** Let the other replicas have this one's state. */
export function serveImage(
  cluster: Cluster,
  raft: Pick<RaftDriver, 'image'>,
  digestAt: (index: number) => number | undefined,
): void {
  cluster.peers.serve('/state-image', async (_from, _request, response) => {
    const { data, ...at } = raft.image()
    response.setHeader(header, JSON.stringify({ ...at, digest: digestAt(at.index) }))
    await pipeline(Readable.from(data), response)
  })
}

/**
 * Fetches the state from the first of these nodes that gives it whole, and leaves it in the data folder for the next
 * start: the log stays, and what is in it after the image is applied again.
 */
export async function fetchImage(
  data: string,
  cluster: Cluster,
  raft: Pick<RaftDriver, 'status'>,
  right: readonly string[],
): Promise<void> {
  let failure: unknown
  for (const node of right)
    try {
      const image = await fetchFrom(data, cluster, node)
      // Our own log must hold the entry that the image ends with.
      for (const until = performance.now() + waitMs; raft.status().lastIndex < image.index; await delay(50))
        if (performance.now() > until) throw new Error(`entry ${image.index} did not arrive here`)
      return await writeFileDurably(join(data, markFile), JSON.stringify(image))
    } catch (error) {
      failure = error
    }
  throw failure
}

async function fetchFrom(data: string, cluster: Cluster, node: string): Promise<Image> {
  const file = join(data, imageFile)
  const { headers, body } = await cluster.peers.request(node, {
    method: 'POST',
    path: '/state-image',
    timeoutMs: waitMs,
  })
  await pipeline(body, createWriteStream(`${file}.tmp`, { mode: 0o600, flush: true }))
  const image = Image.parse(JSON.parse(String(headers[header])))
  const { image: lines } = await splitRows(createReadStream(`${file}.tmp`))
  if ((await digestOf(rowsOf(lines))) !== image.digest)
    throw new Error(`the state of ${node} arrived damaged`)
  await rename(`${file}.tmp`, file)
  return image
}

async function* rowsOf(data: AsyncIterable<Uint8Array>) {
  for await (const line of readImage(data)) if ('table' in line) yield line
}

/**
 * At the start, before the state is opened: an image that was fetched becomes the log's own newest snapshot, and the
 * state is thrown away, to be made from it. Does nothing when the log does not hold that entry (any more).
 */
export async function useImage(data: string, state: string, store: LogStore, log: Log): Promise<void> {
  const mark = join(data, markFile)
  const text = await readFile(mark, 'utf8').catch(() => undefined)
  if (text === undefined) return
  const { index, term, conf } = Image.parse(JSON.parse(text))
  if (store.term(index) === term && index >= (store.snapshot()?.index ?? 0)) {
    await store.createSnapshot({ index, term, conf }, createReadStream(join(data, imageFile)))
    await rm(state, { recursive: true, force: true })
    log.warn({ index }, 'the state is made anew from another replica’s')
  }
  await rm(mark, { force: true })
  await rm(join(data, imageFile), { force: true })
}
