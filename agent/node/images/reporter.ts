import { isDeepStrictEqual } from 'node:util'
import type Docker from 'dockerode'
import type { Logger } from 'pino'
import { normalImage } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { EngineImage } from '../../cluster/state.ts'
import { type DockerEngine, gone } from '../docker/engine.ts'
import type { Brought } from './brought.ts'

export interface ImageReporterOptions {
  readonly cluster: Pick<Cluster, 'self' | 'state' | 'propose'>
  readonly engine: DockerEngine
  readonly brought: Brought
  readonly log: Pick<Logger, 'debug'>
  readonly intervalMs?: number
  readonly now?: () => number
}

/** The largest list that is told: beyond it the oldest images are of no interest to a planner. */
const mostImages = 1000

interface Kind {
  readonly os: string
  readonly architecture: string
}

/** Tells the cluster which images this host's engine has, whenever that changes. */
export class ImageReporter {
  readonly #options: ImageReporterOptions
  readonly #kinds = new Map<string, Kind>()
  #timer: NodeJS.Timeout | undefined
  #checking: Promise<void> = Promise.resolve()

  constructor(options: ImageReporterOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => void this.check(), this.#options.intervalMs ?? 15_000)
    void this.check()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#checking
  }

  /** Look, and tell what changed. Never throws; checks never run side by side. */
  check(): Promise<void> {
    this.#checking = this.#checking
      .then(() => this.#check())
      // An engine that is down, or no leader: the next look tells it.
      .catch((err: unknown) => this.#options.log.debug({ err }, 'the images of the engine were not told'))
    return this.#checking
  }

  async #check(): Promise<void> {
    const { cluster, engine, brought } = this.#options
    const docker = await engine.client()
    const listed = await docker.listImages()
    const before = cluster.state().engineImages.get(cluster.self.node)?.images ?? []
    const since = new Map(before.map((image) => [image.id, image.since]))
    const images: EngineImage[] = []
    for (const info of listed.toSorted((a, b) => b.Created - a.Created).slice(0, mostImages)) {
      const kind = await this.#kindOf(docker, info.Id)
      if (!kind) continue
      const names = (info.RepoTags ?? []).filter((name) => !name.includes('<none>')).map(normalImage)
      const first = since.get(info.Id) ?? new Date((this.#options.now ?? Date.now)()).toISOString()
      images.push({ id: info.Id, names: names.toSorted(), bytes: info.Size, ...kind, brought: brought.of(info.Id), since: first }) // prettier-ignore
    }
    images.sort((a, b) => (a.id < b.id ? -1 : 1))
    if (isDeepStrictEqual(images, before)) return
    const ids = new Set(images.map(({ id }) => id))
    for (const id of this.#kinds.keys()) if (!ids.has(id)) this.#kinds.delete(id)
    await brought.keepOnly(new Set(listed.map(({ Id }) => Id)))
    const { node } = cluster.self
    await cluster.propose({ type: 'node.images', node, images }, { kind: 'node', node })
  }

  /** Asked once for each image: an id never means another one. */
  async #kindOf(docker: Docker, id: string): Promise<Kind | undefined> {
    const known = this.#kinds.get(id)
    if (known) return known
    const info = await docker.getImage(id).inspect().catch(gone)
    if (!info) return undefined
    const kind = { os: info.Os, architecture: info.Architecture }
    this.#kinds.set(id, kind)
    return kind
  }
}
