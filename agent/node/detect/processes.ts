import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import type { GpuProcess } from '../../../contract/index.ts'
import { identify } from '../process/proc.ts'
import type { RawProcess } from './reading.ts'

/** What of this cluster runs on the host, as far as processes are told by it. */
export interface Ours {
  /** Container id → task. */
  readonly containers: ReadonlyMap<string, string>
  /** First process of a task that runs without a container → task. */
  readonly leaders: ReadonlyMap<number, string>
}

export interface OwnersOptions {
  /** Asked only when a process shows up that is not known yet. Throws when an engine does not answer. */
  readonly ours: () => Promise<Ours>
  /** From here on a computing process from outside keeps a GPU from being handed out, bytes. */
  readonly threshold: number
  readonly proc?: string
  readonly passwd?: string
}

/** Less is a context that somebody opened and forgot, or a screen's. */
export const defaultThreshold = 300 * 1024 ** 2

interface Owner {
  readonly user: string | null
  readonly task: string | null
}

/** Tells whose the processes on the GPUs are. */
export class ProcessOwners {
  readonly #options: OwnersOptions
  /** By pid and start, so that a pid that is used again is looked at again. */
  #known = new Map<string, Owner>()

  constructor(options: OwnersOptions) {
    this.#options = options
  }

  /** The processes of each device, in the order given. */
  async of(devices: readonly (readonly RawProcess[])[]): Promise<GpuProcess[][]> {
    const known = new Map<string, Owner>()
    const owners = new Map<number, Owner>()
    let asked: Promise<Ours> | undefined
    const ours = () => (asked ??= this.#options.ours())
    for (const { pid } of devices.flat()) {
      if (owners.has(pid)) continue
      const key = `${pid}:${identify(pid)?.start ?? ''}`
      const before = this.#known.get(key)
      const { owner, sure } = before ? { owner: before, sure: true } : await this.#look(pid, ours)
      owners.set(pid, owner)
      if (sure) known.set(key, owner)
    }
    this.#known = known
    return Promise.all(devices.map((list) => Promise.all(list.map((one) => this.#tell(one, owners)))))
  }

  async #tell(process: RawProcess, owners: ReadonlyMap<number, Owner>): Promise<GpuProcess> {
    const { user, task } = owners.get(process.pid) ?? { user: null, task: null }
    const { memory, kind } = process
    // What a driver does not measure is taken for large: a GPU that is used must not be handed out.
    const large = memory === null || memory >= this.#options.threshold
    return {
      ...process,
      name: process.name || (await commandOf(this.#proc, process.pid)),
      user,
      task,
      blocking: task === null && kind === 'compute' && large,
    }
  }

  get #proc(): string {
    return this.#options.proc ?? '/proc'
  }

  /** `sure`: it will not be another's later. */
  async #look(pid: number, ours: () => Promise<Ours>): Promise<{ owner: Owner; sure: boolean }> {
    const user = await userOf(this.#proc, this.#options.passwd ?? '/etc/passwd', pid)
    try {
      return { owner: { user, task: await taskOf(this.#proc, pid, await ours()) }, sure: user !== null }
    } catch {
      // Whose it is can be asked again when the engine answers; until then it is not ours.
      return { owner: { user, task: null }, sure: false }
    }
  }
}

async function commandOf(proc: string, pid: number): Promise<string> {
  const name = await readFile(path.join(proc, String(pid), 'comm'), 'utf8').catch(() => '')
  return name.trim() || 'unknown'
}

/** Whoever runs it by name, or by number where the host's own list does not have them; null when it is gone. */
async function userOf(proc: string, passwd: string, pid: number): Promise<string | null> {
  const uid = await stat(path.join(proc, String(pid))).then(
    (found) => found.uid,
    () => undefined,
  )
  if (uid === undefined) return null
  const lines = (await readFile(passwd, 'utf8').catch(() => '')).split('\n')
  const name = lines.map((line) => line.split(':')).find((fields) => Number(fields[2]) === uid)?.[0]
  return name ?? `uid ${uid}`
}

/** By the container in its cgroup's path, or by a task's first process among its session, group and ancestors. */
export async function taskOf(proc: string, pid: number, ours: Ours): Promise<string | null> {
  const cgroup = await readFile(path.join(proc, String(pid), 'cgroup'), 'utf8').catch(() => '')
  for (const [id] of cgroup.matchAll(/[0-9a-f]{64}/g)) {
    const task = ours.containers.get(id)
    if (task !== undefined) return task
  }
  if (!ours.leaders.size) return null
  for (let at = pid, steps = 0; at > 1 && steps < 64; steps++) {
    const relations = await relationsOf(proc, at)
    if (!relations) return null
    for (const one of [at, relations.group, relations.session]) {
      const task = ours.leaders.get(one)
      if (task !== undefined) return task
    }
    at = relations.parent
  }
  return null
}

/** The name in parentheses may hold spaces and parentheses itself: counted from its last one. */
async function relationsOf(proc: string, pid: number) {
  const line = await readFile(path.join(proc, String(pid), 'stat'), 'latin1').catch(() => undefined)
  if (line === undefined) return undefined
  const [, parent, group, session] = line.slice(line.lastIndexOf(')') + 2).split(' ')
  return { parent: Number(parent), group: Number(group), session: Number(session) }
}
