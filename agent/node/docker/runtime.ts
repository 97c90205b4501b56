import { chmod } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type Docker from 'dockerode'
import { type Reason, ticketFiles } from '../../../contract/index.ts'
import type { LogRecord } from '../../store/store.ts'
import { absent } from '../files.ts'
import { LogCursor, skipKept } from '../log/cursor.ts'
import { nanoseconds } from '../log/time.ts'
import { type Exit, type Found, type Launch, type LogResume, type Runtime, StartFailure } from '../runtime.ts'
import { deviceGroups, type HostDevices, mismatch } from './devices.ts'
import { type DockerEngine, type EngineFacts, gone, messageOf, statusOf } from './engine.ts'
import { FrameParser, RecordMaker } from './frames.ts'
import { checkGrants } from './grants.ts'
import { EngineImages } from './image.ts'
import { isAboutNetwork, Networks } from './network.ts'
import { makePerson, NamesOfImages, personFiles } from './person.ts'
import { containerName, containerSpec, type Host, labelFilter, labels, type Owner } from './spec.ts'
import { giveTo } from './workspace.ts'

export interface DockerOptions {
  readonly engine: DockerEngine
  readonly owner: Owner
  /** Who this agent was before: those containers are its own too. */
  readonly formerly?: readonly Owner[]
  /** For tasks that name no image. */
  readonly defaultImage: string | null
  /** `host` where the agent only listens on loopback, which no bridged container can reach; default: what the engine has. */
  readonly network?: 'auto' | 'host'
  /** Default: from wherever the engine itself finds them. */
  readonly images?: Pick<EngineImages, 'ensure'>
  /** The host's devices as last read; default: it has none. */
  readonly devices?: () => HostDevices
}

/** The longest the engine is believed without being asked again, ms. */
const recheck = 3000

/** Attempts as containers of a Docker Engine. What it knows of them is all on the engine, found again by labels. */
export class DockerRuntime implements Runtime {
  readonly name = 'docker'
  readonly #options: DockerOptions
  readonly #images: Pick<EngineImages, 'ensure'>
  readonly #names = new NamesOfImages()
  readonly #networks: Networks

  constructor(options: DockerOptions) {
    this.#options = options
    this.#images = options.images ?? new EngineImages({ engine: options.engine })
    this.#networks = new Networks(options.owner)
  }

  /** What every start needs of the engine and can be there before the first. Never throws: starts make up for it. */
  async prepare(): Promise<void> {
    const { engine } = this.#options
    for (let tries = 0; tries < 10; tries++)
      try {
        if (this.#bridges(await engine.facts())) await this.#networks.of(await engine.client(), undefined)
        return
      } catch {
        // The engine is not up yet, or has just been started.
        await delay(3000, undefined, { ref: false })
      }
  }

  async start(launch: Launch, signal?: AbortSignal): Promise<Found> {
    const docker = await this.#options.engine.client()
    // Its name is its own: asking first whether it is there already would cost every start what almost none needs.
    const { id, isNew } = await this.#create(docker, launch, signal)
    const begins = isNew || (await docker.getContainer(id).inspect()).State.Status === 'created'
    if (begins) await this.#begin(docker, id, launch)
    const found = foundOf(await docker.getContainer(id).inspect())
    if (!found) throw new Error(`the engine does not know its own container ${id}`)
    return found
  }

  async list(): Promise<Found[]> {
    const docker = await this.#options.engine.client()
    const ids = await this.#find(docker, {})
    const all = await Promise.all(ids.map((id) => docker.getContainer(id).inspect().catch(gone)))
    return all.flatMap((info) => (info ? (foundOf(info) ?? []) : []))
  }

  async wait(found: Found, signal: AbortSignal): Promise<Exit> {
    for (;;) {
      signal.throwIfAborted()
      try {
        await this.#ended(found, signal)
        const exit = await this.#exitOf(found)
        if (exit) return exit
      } catch {
        // The engine is down or restarts; what became of the container it says when it is back.
        signal.throwIfAborted()
        await delay(1000, undefined, { signal })
      }
    }
  }

  async wrongDevices(found: Found, gpus: readonly string[]): Promise<Reason | undefined> {
    const docker = await this.#options.engine.client()
    return mismatch(docker, found.handle, gpus, this.#devices())
  }

  async stop(found: Found, graceSeconds: number): Promise<void> {
    const docker = await this.#options.engine.client()
    const container = docker.getContainer(found.handle)
    try {
      await container.stop({ t: Math.ceil(graceSeconds) })
    } catch (error) {
      // 304: it has ended already; 404: it is gone.
      if (statusOf(error) !== 304 && statusOf(error) !== 404) throw error
    }
  }

  async remove(found: Found): Promise<void> {
    const docker = await this.#options.engine.client()
    try {
      await docker.getContainer(found.handle).remove({ force: true, v: true })
    } catch (error) {
      // 409: it is being removed already.
      if (statusOf(error) !== 404 && statusOf(error) !== 409) throw error
    }
  }

  async *log(found: Found, resume: LogResume | null, signal: AbortSignal): AsyncIterable<LogRecord> {
    // Follows what is told in this call, to go on after it when the connection breaks.
    const cursor = LogCursor.resumed(resume)
    for (let [drained, begun] = [false, false]; !drained; begun = true) {
      signal.throwIfAborted()
      // Whether it had ended is asked first: then this reading is the whole of it.
      drained = (await this.#exitOf(found).catch(() => undefined)) !== undefined
      // A reading that was over before its time: the connection broke.
      if (begun && !drained) await delay(200, undefined, { signal })
      try {
        for await (const record of this.#read(found, cursor.resume(), drained, signal)) {
          cursor.keep(record.t)
          yield record
        }
      } catch (error) {
        signal.throwIfAborted()
        if (statusOf(error) === 404) return
        if (drained) await delay(200, undefined, { signal })
        drained = false
      }
    }
  }

  async *#read(found: Found, from: LogResume | null, ended: boolean, signal: AbortSignal) {
    const docker = await this.#options.engine.client()
    const stream = (await docker.getContainer(found.handle).logs({
      // Always as a stream: a log may be larger than memory. One that has ended closes by itself.
      follow: true,
      stdout: true,
      stderr: true,
      timestamps: true,
      ...(from?.since ? { since: engineTime(from.since) } : {}),
      abortSignal: signal,
    })) as unknown as Readable
    const stop = () => stream.destroy()
    signal.addEventListener('abort', stop)
    const isNew = skipKept(from)
    const [parser, maker] = [new FrameParser(), new RecordMaker()]
    try {
      for await (const chunk of stream)
        for (const frame of parser.push(chunk as Buffer))
          for (const record of maker.push(frame)) if (isNew(record.t)) yield record
      // A line without end is a record only when nothing can follow it.
      if (ended) for (const record of maker.flush()) if (isNew(record.t)) yield record
    } finally {
      signal.removeEventListener('abort', stop)
      stream.destroy()
    }
  }

  async #find(docker: Docker, of: { task?: string; attempt?: number }): Promise<string[]> {
    const { owner, formerly = [] } = this.#options
    const ids: string[] = []
    for (const whose of [owner, ...formerly]) {
      const label = labelFilter(whose, of)
      ids.push(...(await docker.listContainers({ all: true, filters: { label } })).map(({ Id }) => Id))
    }
    return ids
  }

  async #create(
    docker: Docker,
    launch: Launch,
    signal?: AbortSignal,
  ): Promise<{ id: string; isNew: boolean }> {
    const image = launch.image ?? this.#options.defaultImage
    if (!image)
      throw new StartFailure(
        'image_missing',
        'The experiment names no image and this agent has no default one. Name one under environment, or start the agent with --default-image.',
      )
    const id = await this.#images.ensure(image, { signal, onPull: (now) => launch.onPull?.(image, now) })
    signal?.throwIfAborted()
    await checkGrants(launch.asks)
    const host = await this.#host(docker, launch)
    await this.#makePerson(docker, launch, id)
    await handOver(launch, host)
    const spec = containerSpec(launch, id, this.#options.owner, host)
    try {
      return { id: (await docker.createContainer(spec)).id, isNew: true }
    } catch (error) {
      if (statusOf(error) === 409) return { id: await this.#ofSameName(docker, launch, error), isNew: false }
      throw refused(error)
    }
  }

  /** An agent that was killed while it asked for this container may have got it. */
  async #ofSameName(docker: Docker, { task, attempt }: Launch, cause: unknown): Promise<string> {
    const [known] = await this.#find(docker, { task, attempt })
    if (known) return known
    throw new StartFailure(
      'start_failed',
      `A container named ${containerName(task, attempt)} that is not this agent's stands in the way. Remove or rename it.`,
      cause,
    )
  }

  async #makePerson(docker: Docker, { asks, person, ownFolder }: Launch, image: string): Promise<void> {
    if (asks.user === 'root') return
    const names = await this.#names.of(docker, image, this.#options.owner)
    await makePerson(ownFolder, person, names)
  }

  async #begin(docker: Docker, id: string, launch: Launch): Promise<void> {
    try {
      await this.#startIn(docker, id, launch)
    } catch (error) {
      if (statusOf(error) === 304) return
      const failure = refused(error)
      // It never ran and never will; a repeat begins anew.
      if (failure instanceof StartFailure)
        await docker
          .getContainer(id)
          .remove({ force: true, v: true })
          .catch(() => undefined)
      throw failure
    }
  }

  /** Starts it; should the network that it was made for not be there any more, in one that is looked for anew. */
  async #startIn(docker: Docker, id: string, launch: Launch): Promise<void> {
    const container = docker.getContainer(id)
    try {
      await container.start()
    } catch (error) {
      if (!isAboutNetwork(error)) throw error
      this.#networks.forget()
      await this.#networks.of(docker, personOf(launch))
      await container.start()
    }
  }

  async #host(docker: Docker, launch: Launch): Promise<Host> {
    const info = await this.#options.engine.facts()
    const bridged = this.#bridges(info)
    const gpus = this.#devices().gpus.filter(({ uuid }) => launch.gpus.includes(uuid))
    const cdi = !info.Runtimes?.['nvidia'] && (info.CDISpecDirs?.length ?? 0) > 0
    const tenant = bridged && !launch.asks.network && (await this.#networks.of(docker, personOf(launch)))
    return {
      cpus: info.NCPU,
      cpuQuota: info.CpuCfsQuota,
      network: bridged ? 'bridge' : 'host',
      ...(tenant ? { tenant } : {}),
      ownUsers: info.SecurityOptions?.some((option) => /^name=(userns|rootless)/.test(option)) ?? false,
      nvidia: cdi ? 'cdi' : 'runtime',
      gpus,
      deviceGroups: gpus.some(({ vendor }) => vendor === 'amd') ? await deviceGroups(gpus) : [],
    }
  }

  #bridges({ bridged }: Pick<EngineFacts, 'bridged'>): boolean {
    return this.#options.network !== 'host' && bridged
  }

  #devices(): HostDevices {
    return this.#options.devices?.() ?? { gpus: [], minors: new Map() }
  }

  /** undefined while it runs. Throws when the engine does not answer. */
  async #exitOf(found: Found): Promise<Exit | undefined> {
    const docker = await this.#options.engine.client()
    const info = await docker.getContainer(found.handle).inspect().catch(gone)
    if (!info) return lost()
    return foundOf(info)?.exit ?? undefined
  }

  /** Returns when it may have ended; the engine is asked again by then. */
  async #ended(found: Found, signal: AbortSignal): Promise<void> {
    const docker = await this.#options.engine.client()
    const over = new AbortController()
    const both = AbortSignal.any([signal, over.signal])
    // A call that waits hangs for ever when the engine is killed meanwhile, hence the limit.
    const waiting = docker.getContainer(found.handle).wait({ abortSignal: both })
    // One that is gone has ended too.
    const ended = waiting.catch((error: unknown) => void gone(error))
    ended.catch(() => undefined)
    try {
      await Promise.race([ended, delay(recheck, undefined, { signal: both })])
    } finally {
      over.abort()
    }
  }
}

/** Whose network it is in; nobody's for one that is alone. */
const personOf = ({ gang, person }: Launch) => (gang ? person.name : undefined)

/** The task's folders become its user's, where this agent and the engine mean the same users by the same numbers. */
async function handOver(launch: Launch, host: Host): Promise<void> {
  const { codeFolder, outputFolder, ownFolder, asks, person, secrets } = launch
  if (process.getuid?.() !== 0 || host.ownUsers) return
  const uid = asks.user === 'root' ? 0 : person.uid
  // Where there is none, the engine says so.
  for (const folder of [
    codeFolder,
    outputFolder,
    personFiles(ownFolder).home,
    ...(secrets ? [secrets.folder] : []),
  ])
    await giveTo(folder, uid).catch(absent)
  if (secrets?.ticket) await chmod(path.join(secrets.folder, ticketFiles.cache), 0o600)
}

/** An answer of the engine means that it will not; none, that it cannot just now. */
function refused(error: unknown): unknown {
  if (statusOf(error) === undefined) return error
  return new StartFailure(
    'start_failed',
    `The Docker Engine could not start the container: ${messageOf(error).trim()}`,
    error,
  )
}

function lost(): Exit {
  return {
    exitCode: null,
    oomKilled: false,
    failure: {
      code: 'container_lost',
      message: 'Its container vanished from the Docker Engine: somebody or something else removed it.',
    },
    finishedAt: new Date().toISOString(),
  }
}

/** undefined: not one of ours, or half removed. */
function foundOf(info: Docker.ContainerInspectInfo): Found | undefined {
  const { [labels.task]: task, [labels.attempt]: attempt } = info.Config.Labels
  const { State: state } = info
  if (!task || !attempt || state.Status === 'removing') return undefined
  const ended = state.Status === 'exited' || state.Status === 'dead'
  return {
    task,
    attempt: Number(attempt),
    handle: info.Id,
    imageId: info.Image,
    startedAt: state.Status === 'created' ? null : state.StartedAt,
    exit: ended
      ? { exitCode: state.ExitCode, oomKilled: state.OOMKilled, failure: null, finishedAt: state.FinishedAt }
      : null,
  }
}

/** Seconds since 1970 with nine decimals, as text: a number would lose the last ones. */
function engineTime(time: string): string {
  const ns = nanoseconds(time)
  return `${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, '0')}`
}
