import Docker from 'dockerode'
import { within } from '../deadline.ts'

/** The newest version of the engine's API that this code was written against. */
const newest = '1.47'

export interface EngineVersion {
  readonly version: string
  readonly api: string
}

/** What an engine says of itself and its host. */
export interface EngineFacts {
  readonly Driver: string
  readonly CgroupVersion?: string
  readonly CgroupDriver: string
  readonly NCPU: number
  readonly CpuCfsQuota: boolean
  readonly Runtimes?: Record<string, unknown>
  readonly CDISpecDirs?: string[] | null
  readonly SecurityOptions?: readonly string[]
  /** It has the default bridge: it may be told to make none. */
  readonly bridged: boolean
}

export const defaultDockerSocket = '/var/run/docker.sock'

/** A Docker Engine on its socket. It may be started, stopped or upgraded while we run. */
export class DockerEngine {
  readonly #socketPath: string
  #client: Promise<{ docker: Docker; engine: EngineVersion }> | undefined
  #facts: { readonly of: EngineVersion; readonly told: EngineFacts } | undefined

  constructor(socketPath = defaultDockerSocket) {
    this.#socketPath = socketPath
  }

  /** A client that speaks a version both sides know. Throws when no engine answers. */
  async client(): Promise<Docker> {
    return (await this.#connect()).docker
  }

  async version(): Promise<EngineVersion> {
    return (await this.#connect()).engine
  }

  /**
   * As last told. Not asked before each start: one that is in a Swarm without a leader takes up to a minute to answer,
   * though it starts containers as well as ever.
   */
  async facts(): Promise<EngineFacts> {
    return this.#facts?.told ?? (await this.refresh())
  }

  /** Its facts as it tells them now; those of before while it is the same engine and does not say. */
  async refresh(): Promise<EngineFacts> {
    const [docker, of] = [await this.client(), await this.version()]
    const told = await within(10_000, factsOf(docker), 'the Docker Engine').catch((error: unknown) => {
      const known = this.#facts
      if (known?.of.version === of.version && known.of.api === of.api) return known.told
      throw error
    })
    this.#facts = { of, told }
    return told
  }

  /** Ask again which versions it speaks: it may have been upgraded. */
  reset(): void {
    this.#client = undefined
  }

  #connect() {
    this.#client ??= this.#negotiate().catch((error: unknown) => {
      this.#client = undefined
      throw error
    })
    return this.#client
  }

  async #negotiate() {
    // An engine that takes connections but does not answer counts as none.
    const found = await within(10_000, this.#docker().version(), 'the Docker Engine')
    const api = negotiated(found.ApiVersion, found.MinAPIVersion)
    return { docker: this.#docker(`v${api}`), engine: { version: found.Version, api } }
  }

  #docker(version?: string): Docker {
    // `host` is named so that DOCKER_HOST of our environment cannot lead elsewhere.
    return new Docker({ socketPath: this.#socketPath, host: undefined, ...(version ? { version } : {}) })
  }
}

async function factsOf(docker: Docker): Promise<EngineFacts> {
  const [info, bridge] = await Promise.all([
    docker.info() as Promise<Omit<EngineFacts, 'bridged'>>,
    docker.getNetwork('bridge').inspect().catch(gone),
  ])
  return { ...info, bridged: bridge !== undefined }
}

/** The newest version both know; engines of some age only speak older ones, very new ones only newer. */
export function negotiated(engineNewest: string, engineOldest: string | undefined): string {
  const ours = compareVersions(engineNewest, newest) < 0 ? engineNewest : newest
  return engineOldest && compareVersions(ours, engineOldest) < 0 ? engineOldest : ours
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number))
  return (left?.[0] ?? 0) - (right?.[0] ?? 0) || (left?.[1] ?? 0) - (right?.[1] ?? 0)
}

/** HTTP status of the engine's answer, undefined when there was none (it is down, or restarting). */
export function statusOf(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown }).statusCode
  return typeof status === 'number' ? status : undefined
}

/** The engine's own words of an error. */
export function messageOf(error: unknown): string {
  const said = (error as { json?: { message?: unknown } }).json?.message
  if (typeof said === 'string') return said
  return error instanceof Error ? error.message : String(error)
}

/** For `.catch`: what is not there (any more) is undefined. */
export function gone(error: unknown): undefined {
  if (statusOf(error) === 404) return undefined
  throw error
}
