import { mkdtemp, readFile, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createInterface } from 'node:readline'
import { loadBaseImage } from '../../resources/demo/base-image.ts'
import { type Engine, startEngine } from '../../test/docker/engine.ts'
import { type Host, startLan } from '../../test/docker/lan.ts'

/** One host: its network, its Docker daemon, and what runs on it. */
export interface Place {
  readonly host: Host
  readonly engine: Engine
}

export type Stage = 'start' | 'die'

/** When containers started and ended, as the engines' own events say. Keys name a task. */
export interface Starts {
  /** Milliseconds since the epoch, by the engine; waits for it. */
  when(stage: Stage, key: string, timeoutMs?: number): Promise<number>
  /** How many of the keys with this prefix were seen at this stage. */
  seen(stage: Stage, prefix: string): readonly number[]
  /** The place where a task has started last. */
  placeOf(key: string): number | undefined
  /** Follow an engine anew, after it was down. */
  follow(place: number): Promise<void>
}

export interface Site {
  readonly places: readonly Place[]
  readonly starts: Starts
  readonly image: string
  readonly folder: string
  stop(): Promise<void>
}

/** Three hosts with an engine each, on a network of their own, and the same image in each engine. */
export async function openSite(): Promise<Site> {
  // A Swarm asks a registry for an image that is there already, and waits long where there is none: that would not be fair.
  process.env['DOCKER_SERVICE_PREFER_OFFLINE_IMAGE'] = '1'
  const folder = await mkdtemp('/tmp/s-')
  const lan = await startLan(3)
  const places: Place[] = []
  const stop = async () => {
    for (const { engine } of places) await engine.stop()
    await lan.stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 10 })
  }
  try {
    let image = ''
    for (const [at, host] of lan.hosts.entries()) {
      const engine = await startEngine({ root: `${folder}/${at}`, host })
      places.push({ host, engine })
      image = (await loadBaseImage(engine.docker)).tag
    }
    const starts = watchStarts(places)
    for (const at of places.keys()) await starts.follow(at)
    return { places, starts, image, folder, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

interface EngineEvent {
  readonly Action: string
  readonly timeNano: number
  readonly Actor: { readonly Attributes: Readonly<Record<string, string>> }
}

/** What a container is for: a task of ours, a service of the Swarm, or its name. */
function keyOf({ Actor: { Attributes: a } }: EngineEvent): string {
  return a['submarine.task'] ?? a['com.docker.swarm.task.name'] ?? a['name'] ?? ''
}

function watchStarts(places: readonly Place[]): Starts {
  const seen = { start: new Map<string, number>(), die: new Map<string, number>() }
  const placed = new Map<string, number>()
  const waiting = new Set<() => void>()
  const take = (place: number, event: EngineEvent) => {
    const key = keyOf(event)
    const stage = event.Action as Stage
    if (stage === 'start') placed.set(key, place)
    if (!seen[stage].has(key) || stage === 'start') seen[stage].set(key, event.timeNano / 1e6)
    for (const look of waiting) look()
  }
  /** The last of them: a Swarm gives a task that it starts elsewhere a new name below its service's. */
  const find = (stage: Stage, name: string) =>
    [...seen[stage]]
      .filter(([key]) => key === name || key.startsWith(`${name}.`) || key.startsWith(`${name}-`))
      .reduce<[string, number] | undefined>(
        (last, each) => (last && last[1] > each[1] ? last : each),
        undefined,
      )
  return {
    when: (stage, key, timeoutMs = 120_000) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = find(stage, key)
          if (!found) return
          waiting.delete(look)
          clearTimeout(timer)
          resolve(found[1])
        }
        const timer = setTimeout(() => {
          waiting.delete(look)
          reject(new Error(`no ${stage} of ${key} within ${timeoutMs / 1000} s`))
        }, timeoutMs)
        waiting.add(look)
        look()
      }),
    seen: (stage, prefix) => [...seen[stage]].flatMap(([key, at]) => (key.startsWith(prefix) ? [at] : [])),
    placeOf: (key) => placed.get(find('start', key)?.[0] ?? ''),
    follow: async (place) => {
      const filters = JSON.stringify({ type: ['container'], event: ['start', 'die'] })
      const stream = (await places[place]?.engine.docker.getEvents({ filters })) as unknown as Readable
      const lines = createInterface({ input: stream })
      lines.on('line', (line) => take(place, JSON.parse(line) as EngineEvent))
      // It breaks with its engine.
      for (const source of [stream, lines]) source.on('error', () => undefined)
    },
  }
}

/** Resident memory of a process, MiB. */
export async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? NaN) / 1024
}

/** CPU time of a process so far, ms; the kernel counts in hundredths of a second. */
export async function cpuMs(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}
