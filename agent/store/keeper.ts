import type { Logger } from 'pino'
import { z } from 'zod'
import { ProblemError, Sha256 } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { blobsOf, hexOf } from '../cluster/images.ts'
import type { ImageRow } from '../cluster/state.ts'
import type { HeldBlob } from './blobs.ts'
import {
  imageBlobs,
  isNamed,
  isUselessStream,
  lonelyImages,
  lonelyUploads,
  manifestsOf,
  mayBeSwept,
  type Repair,
  repairs,
} from './keeping.ts'
import { pause } from './peer-io.ts'
import type { ReplicatedBlobs } from './replicated-blobs.ts'
import type { ReplicatedStreams } from './replicated-streams.ts'
import { recordsOf } from './stream-reader.ts'

export interface KeeperOptions {
  readonly cluster: Pick<Cluster, 'self' | 'state' | 'propose' | 'barrier'>
  readonly blobs: ReplicatedBlobs
  readonly streams: ReplicatedStreams
  readonly log: Logger
  /** Wall clock, compared with file times. */
  readonly now?: () => number
  readonly repairEveryMs?: number
  readonly collectEveryMs?: number
  /** How long one thing's second copy is tried before the next one's turn. */
  readonly patienceMs?: number
}

/** As many files as are copied at once: hides the wire's latency without holding up the disk. */
const atOnce = 8
const ManifestEntry = z.object({ sha256: Sha256 })

/** In the background: gives everything kept its second copy back, and frees what nothing refers to any more. */
export class Keeper {
  readonly #options: KeeperOptions
  readonly #self: string
  readonly #now: () => number
  readonly #stopped = new AbortController()
  /** Files seen referred to, with their time of last touch then. */
  #released = new Map<string, number>()
  #running: Promise<void> | undefined

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#self = options.cluster.self.node
    this.#now = options.now ?? Date.now
  }

  start(): void {
    this.#running ??= this.#loop()
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#running
  }

  close(): Promise<void> {
    return this.stop()
  }

  async #loop(): Promise<void> {
    const { repairEveryMs = 10_000, collectEveryMs = 15 * 60_000 } = this.#options
    let collected = performance.now()
    while (await pause(repairEveryMs, this.#stopped.signal)) {
      await this.#quietly('a copy could not be repaired', () => this.repair())
      if (performance.now() - collected < collectEveryMs) continue
      collected = performance.now()
      await this.#quietly('nothing could be freed', () => this.collect())
    }
  }

  async #quietly(message: string, work: () => Promise<void>): Promise<void> {
    await work().catch((err: unknown) => {
      if (!this.#stopped.signal.aborted) this.#options.log.warn({ err }, message)
    })
  }

  /** One round over everything of which this agent has the only copy. */
  async repair(): Promise<void> {
    const { cluster, blobs } = this.#options
    for (const repair of repairs(cluster.state(), this.#self)) {
      if (this.#stopped.signal.aborted) return
      await this.#quietly(`${repair.kind} of ${repair.task} has one copy only`, () => this.#repair(repair))
    }
    for (const { sha256, bytes } of lonelyUploads(cluster.state(), this.#self)) {
      if (this.#stopped.signal.aborted) return
      await this.#quietly(`the upload ${sha256} has one copy only`, async () => {
        const holders = await blobs.replicate(sha256, this.#patience())
        if (holders.length > 1) await this.#propose({ type: 'blob.create', sha256, bytes, holders })
      })
    }
    for (const row of lonelyImages(cluster.state(), this.#self)) {
      if (this.#stopped.signal.aborted) return
      await this.#quietly(`the image ${row.names[0] ?? row.digest} has one copy only`, () =>
        this.#copyImage(row),
      )
    }
  }

  async #repair(repair: Repair): Promise<void> {
    const { task, attempt, kind } = repair
    const holders =
      kind === 'artifacts' ? await this.#copyFiles(repair) : await this.#copyStream(repair, kind)
    if (holders.length > 1) await this.#propose({ type: 'task.copied', task, attempt, kind, holders })
  }

  /** Every blob of it to one and the same node. */
  async #copyImage(row: ImageRow): Promise<void> {
    const { blobs } = this.#options
    let common: string[] | undefined
    for (const { digest } of blobsOf(row)) {
      await blobs.fetch(hexOf(digest), row.holders)
      const now = await blobs.replicate(hexOf(digest), this.#patience(), row.digest)
      common = (common ?? now).filter((node) => now.includes(node))
      if (common.length < 2) return
    }
    await this.#propose({ type: 'image.hold', digest: row.digest, holders: common ?? [] })
  }

  async #copyStream({ task, attempt, sha256 }: Repair, kind: 'log' | 'metrics'): Promise<string[]> {
    const { streams } = this.#options
    const key = { task, attempt, kind }
    // Sealing what is not here would make an empty stream of it.
    if ((await streams.size(key)) === undefined)
      throw new ProblemError('not_found', 'The only copy is missing')
    const sealed = await streams.seal(key, this.#patience())
    if (sealed.sha256 !== sha256) throw new ProblemError('internal', 'The only copy is not what was sealed')
    return sealed.holders
  }

  /** The manifest and every file in it, to one and the same node; answers only who has them all. */
  async #copyFiles({ task, attempt, sha256, holders }: Repair): Promise<string[]> {
    const { blobs } = this.#options
    let common: string[] | undefined
    const copy = async (file: string) => {
      await blobs.fetch(file, holders)
      const now = await blobs.replicate(file, this.#patience(), `${task}/${attempt}`)
      common = (common ?? now).filter((node) => now.includes(node))
    }
    await copy(sha256)
    let batch: string[] = []
    for await (const file of this.#filesIn(sha256, holders)) {
      if (this.#stopped.signal.aborted || common?.length === 1) return [this.#self]
      if (batch.push(file) < atOnce) continue
      await Promise.all(batch.map(copy))
      batch = []
    }
    await Promise.all(batch.map(copy))
    return common ?? []
  }

  /** The digests a manifest names, read as a stream: it may have a hundred thousand lines. */
  async *#filesIn(sha256: string, holders: readonly string[]): AsyncGenerator<string> {
    const { body } = await this.#options.blobs.open(sha256, holders)
    try {
      for await (const { value } of recordsOf(body as AsyncIterable<Buffer>, 0))
        yield ManifestEntry.parse(value).sha256
    } finally {
      body.destroy()
    }
  }

  /** One round of freeing what no row refers to, judged on a state as new as the cluster's. */
  async collect(): Promise<void> {
    const { cluster, streams } = this.#options
    // A replica that lags, or is being rebuilt, lacks rows: it must not judge.
    await cluster.barrier()
    for await (const held of streams.local.list())
      if (isUselessStream(cluster.state(), this.#self, held, this.#now())) await streams.remove(held)
    await this.#collectBlobs()
  }

  async #collectBlobs(): Promise<void> {
    const { cluster, blobs, log } = this.#options
    const unnamed = new Map<string, HeldBlob>()
    for await (const blob of blobs.local.list()) unnamed.set(blob.sha256, blob)
    const released = new Map<string, number>()
    const read = await this.#readManifests(unnamed, released)
    for (const [sha256, touched] of this.#released) {
      if (unnamed.has(sha256) && !released.has(sha256)) released.set(sha256, touched)
    }
    const { kept, passing } = imageBlobs(cluster.state(), this.#self)
    for (const sha256 of kept) unnamed.delete(sha256)
    // A layer that only passed through on its way to the engine need not stay as long as what nobody knows yet.
    for (const [sha256, { touched }] of unnamed) if (passing.has(sha256)) released.set(sha256, touched)
    this.#released = released
    const now = this.#now()
    for (const blob of unnamed.values()) {
      if (isNamed(cluster.state(), read, blob.sha256) || !mayBeSwept(blob, released, now)) continue
      if (blobs.local.sweep(blob.sha256, blob.touched)) log.debug({ sha256: blob.sha256 }, 'freed a file')
    }
  }

  /**
   * Takes what manifests name out of `unnamed`. One that cannot be read fails the round: what it names is not known.
   * Rows that come meanwhile are read too; after the last one nothing is awaited until the sweep is done.
   */
  async #readManifests(unnamed: Map<string, HeldBlob>, released: Map<string, number>): Promise<Set<string>> {
    const { cluster } = this.#options
    const read = new Set<string>()
    const name = (sha256: string) => {
      const held = unnamed.get(sha256)
      if (held) released.set(sha256, held.touched)
      unnamed.delete(sha256)
    }
    const next = () => [...manifestsOf(cluster.state())].filter(([sha256]) => !read.has(sha256))
    for (let todo = next(); todo.length > 0; todo = next()) {
      for (const [manifest, holders] of todo) {
        this.#stopped.signal.throwIfAborted()
        read.add(manifest)
        name(manifest)
        try {
          for await (const sha256 of this.#filesIn(manifest, holders)) name(sha256)
        } catch (error) {
          // Every node was asked and has lost it: it keeps nothing any more.
          if (!(error instanceof ProblemError && error.code === 'not_found')) throw error
        }
      }
    }
    return read
  }

  async #propose(command: Parameters<Cluster['propose']>[0]): Promise<void> {
    await this.#options.cluster.propose(command, { kind: 'node', node: this.#self })
  }

  #patience(): AbortSignal {
    const { patienceMs = 60_000 } = this.#options
    return AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(patienceMs)])
  }
}
