import type Docker from 'dockerode'
import { formatImage, normalImage, parseImage, ProblemError } from '../../../contract/index.ts'
import { bytesOf, idsOf, imageFor } from '../../cluster/images.ts'
import type { ImageRow, State } from '../../cluster/state.ts'
import type { Brought } from '../images/brought.ts'
import type { Pulls } from '../images/pulls.ts'
import type { LoopbackRegistry } from '../images/registry.ts'
import type { Upstream } from '../images/upstream.ts'
import { StartFailure } from '../runtime.ts'
import { type DockerEngine, gone, messageOf, statusOf } from './engine.ts'
import { pull, PullError } from './pull.ts'

export interface ImagesOptions {
  readonly engine: DockerEngine
  /** Without a cluster, as in tests of the engine alone, images come from where their names say. */
  readonly cluster?: {
    readonly state: () => State
    readonly registry: Pick<LoopbackRegistry, 'host' | 'credentials' | 'problemSince'>
    readonly upstream: Upstream
    readonly pulls: Pulls
    readonly brought: Brought
  }
  /** How long a pull may stand still, ms. */
  readonly idleMs?: number
}

/** Bytes so far, and of all layers as far as they are known. */
export interface PullProgress {
  readonly bytes: number
  readonly total: number | null
}

/** A pull under way, and who waits for it. */
interface Running {
  readonly done: Promise<string>
  readonly stop: AbortController
  readonly listeners: Set<(progress: PullProgress) => void>
  waiting: number
}

export interface EnsureOptions {
  readonly signal?: AbortSignal | undefined
  /** Called when it has to be brought first, and then as it comes. */
  readonly onPull?: ((progress: PullProgress) => void) | undefined
}

/** Where an image comes from, and how the engine is asked for it. */
interface Source {
  readonly kind: 'cluster' | 'registry'
  readonly reference: string
  readonly credentials?: { username: string; password: string; serveraddress: string }
  readonly total?: number
}

/** Has images ready on this host's engine. What is on its way is waited for by all who need it. */
export class EngineImages {
  readonly #options: ImagesOptions
  readonly #running = new Map<string, Running>()

  constructor(options: ImagesOptions) {
    this.#options = options
  }

  /**
   * The image is on the engine: its id there. What the cluster keeps under the name wins over what the engine has
   * under it, so that the same name runs the same image on every node. Throws StartFailure `image_missing`.
   */
  async ensure(name: string, options: EnsureOptions = {}): Promise<string> {
    const docker = await this.#options.engine.client()
    const row = this.#row(name)
    const present = await this.#present(docker, name, row)
    if (present) return present
    return this.#shared(row?.digest ?? normalImage(name), options, (signal, progress) =>
      this.#bring(docker, name, signal, progress),
    )
  }

  /** Not by force: one that a container was made of stays. */
  async remove(name: string): Promise<void> {
    const docker = await this.#options.engine.client()
    const row = this.#row(name)
    const found = row ? await firstOf(idsOf(row), (id) => inspect(docker, id)) : await inspect(docker, name)
    if (!found) return
    const byId = name.startsWith('sha256:') || row !== undefined
    const names = byId ? [...(found.RepoTags ?? []), ...(found.RepoDigests ?? [])] : [name]
    // An id alone cannot be removed while it has several names.
    for (const one of names.length ? names : [found.Id]) await docker.getImage(one).remove().catch(gone)
  }

  #row(name: string): ImageRow | undefined {
    const { cluster } = this.#options
    return cluster && imageFor(cluster.state(), name)
  }

  /** Under which of its names people find what is on its way. */
  #called(name: string): string {
    const normal = normalImage(name)
    const row = this.#row(name)
    return row && !row.names.includes(normal) ? (row.names[0] ?? row.digest) : normal
  }

  async #present(docker: Docker, name: string, row: ImageRow | undefined): Promise<string | undefined> {
    const found = await inspect(docker, name)
    if (!row) return found?.Id
    const ids = idsOf(row)
    if (found && ids.includes(found.Id)) return found.Id
    const other = await firstOf(ids, (id) => inspect(docker, id))
    if (other) await tag(docker, other.Id, row.names)
    return other?.Id
  }

  /** One pull for all who wait for it; it ends when the last of them leaves. */
  async #shared(
    key: string,
    { signal, onPull }: EnsureOptions,
    bring: (signal: AbortSignal, progress: (progress: PullProgress) => void) => Promise<string>,
  ): Promise<string> {
    let running = this.#running.get(key)
    if (!running) {
      const stop = new AbortController()
      const listeners: Running['listeners'] = new Set()
      const tell = (progress: PullProgress) => listeners.forEach((listener) => listener(progress))
      const done = bring(stop.signal, tell).finally(() => this.#running.delete(key))
      done.catch(() => undefined)
      this.#running.set(key, (running = { stop, listeners, waiting: 0, done }))
    }
    if (onPull) running.listeners.add(onPull)
    onPull?.({ bytes: 0, total: null })
    const mine = running
    mine.waiting++
    const left = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      if (signal?.aborted) reject(signal.reason as Error)
    })
    try {
      return await Promise.race([mine.done, left])
    } finally {
      if (onPull) mine.listeners.delete(onPull)
      if (--mine.waiting === 0) {
        if (this.#running.get(key) === mine) this.#running.delete(key)
        mine.stop.abort(new Error('nobody waits for the image any more'))
      }
    }
  }

  async #bring(
    docker: Docker,
    name: string,
    signal: AbortSignal,
    onProgress: (progress: PullProgress) => void,
  ): Promise<string> {
    const { cluster, idleMs } = this.#options
    const begun = performance.now()
    const figures = cluster?.pulls.begin(this.#called(name))
    const progress = (now: PullProgress) => {
      figures?.report(now.bytes, now.total)
      onProgress(now)
    }
    try {
      const { source, row } = await this.#source(name, signal)
      const timing = idleMs === undefined ? {} : { idleMs }
      await pull(docker, source.reference, { ...source, ...timing, signal, progress })
      return await this.#pulled(docker, name, source, row)
    } catch (error) {
      signal.throwIfAborted()
      throw failureOf(name, error, cluster?.registry.problemSince(begun))
    } finally {
      figures?.end()
    }
  }

  /** The cluster's own copy, a registry that it has credentials for, or wherever the engine finds the name. */
  async #source(name: string, signal: AbortSignal): Promise<{ source: Source; row?: ImageRow }> {
    const { cluster } = this.#options
    const row = this.#row(name)
    const parsed = parseImage(name)
    if (!cluster) return { source: { kind: 'registry', reference: name } }
    const { host, credentials } = cluster.registry
    if (row) {
      const reference = `${host}/cluster/${parsed?.repository ?? 'image'}@${row.digest}`
      return { source: { kind: 'cluster', reference, credentials, total: bytesOf(row) }, row }
    }
    const at = parsed && cluster.upstream.path(parsed)
    if (!parsed || !at) return { source: { kind: 'registry', reference: name } }
    const digest = parsed.digest ?? (await cluster.upstream.digestOf(parsed, signal))
    return { source: { kind: 'registry', reference: `${host}/${at}@${digest}`, credentials } }
  }

  /** By its own names; the one that it was pulled by is of no use to anybody. */
  async #pulled(docker: Docker, name: string, source: Source, row: ImageRow | undefined): Promise<string> {
    const found = await inspect(docker, source.reference)
    // A registry may answer well and yet hold nothing for this machine's architecture.
    if (!found) throw missing(name, 'there is no image for this kind of machine under that name')
    const { cluster } = this.#options
    if (source.credentials) {
      await tag(docker, found.Id, [...new Set([...(row?.names ?? []), ...withoutDigest(name)])])
      const named = (await inspect(docker, found.Id))?.RepoTags ?? []
      if (named.length) await docker.getImage(source.reference).remove().catch(gone)
    }
    await cluster?.brought.add(found.Id, source.kind)
    return found.Id
  }
}

/** What the image itself is at fault for; anything else may pass. */
function failureOf(name: string, error: unknown, behind: string | undefined): unknown {
  if (error instanceof StartFailure) return error
  if (error instanceof ProblemError && error.code !== 'node_unreachable')
    return missing(name, `${error.message}. ${error.hint}`, error)
  // Without an answer the engine itself is down.
  if (statusOf(error) === undefined && !(error instanceof PullError)) return error
  return missing(name, behind ? `${messageOf(error).trim()} (${behind})` : messageOf(error), error)
}

function missing(image: string, why: string, cause?: unknown): StartFailure {
  return new StartFailure(
    'image_missing',
    `The image ${image} is not on this host and could not be pulled: ${why.trim().replace(/\.$/, '')}. ` +
      `Check its name, bring it to every node with \`submarine image import FILE\` (docker save ${image} > FILE on a host that has it), ` +
      'or make its registry reachable from this host; one that asks for a password is added with `submarine registry add`.',
    cause,
  )
}

const inspect = (docker: Docker, name: string) => docker.getImage(name).inspect().catch(gone)

async function firstOf<T, R>(
  items: readonly T[],
  look: (item: T) => Promise<R | undefined>,
): Promise<R | undefined> {
  for (const item of items) {
    const found = await look(item)
    if (found !== undefined) return found
  }
}

async function tag(docker: Docker, id: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const parsed = parseImage(name)
    if (parsed?.tag === undefined) continue
    const { tag: text, ...rest } = parsed
    await docker.getImage(id).tag({ repo: formatImage(rest), tag: text })
  }
}

function withoutDigest(name: string): string[] {
  const { digest: _, ...parsed } = parseImage(name) ?? { repository: '' }
  return parsed.tag === undefined ? [] : [formatImage(parsed)]
}
