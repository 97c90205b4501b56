import { setTimeout as delay } from 'node:timers/promises'
import { type Client, type Experiment, isFinal, ProblemError } from '../../contract/index.ts'
import type { Rng } from '../../raft/testing/rng.ts'
import { eventually } from '../cluster/lab.ts'
import { type KeyValueInput, type KeyValueOutput, keyValueModel } from '../history/key-value.ts'
import { type HistoryRecorder, recordHistory, type UnderWay } from '../history/record.ts'
import type { Fleet } from './fleet.ts'
import { endOf, type Tally } from './outcome.ts'

/**
 * Registers in the API: the description of an ended experiment, which nobody else changes. Clients read it (strongly),
 * write it, and write it over the version they saw last.
 */
export class Registers {
  readonly history: HistoryRecorder<KeyValueInput, KeyValueOutput> = recordHistory()
  readonly #initial: ReadonlyMap<string, Experiment>
  /** Per register: edits acknowledged, and those whose end nobody knows. */
  readonly edits = new Map<string, { acknowledged: number; unknown: number }>()
  readonly #tally: Tally
  #written = 0

  private constructor(initial: readonly Experiment[], tally: Tally) {
    this.#initial = new Map(initial.map((experiment) => [experiment.id, experiment]))
    for (const { id } of initial) this.edits.set(id, { acknowledged: 0, unknown: 0 })
    this.#tally = tally
  }

  static async make(fleet: Fleet, count: number, tally: Tally): Promise<Registers> {
    const client = fleet.client(await fleet.leader())
    const made: Experiment[] = []
    for (let at = 0; at < count; at++) {
      const body = { name: `register-${at}`, command: 'true', resources: 'cpu=0.1, memory=16Mi' }
      const { id } = await client.call('experiments.create', { body })
      made.push(await untilStill(client, id))
    }
    return new Registers(made, tally)
  }

  get keys(): string[] {
    return [...this.#initial.keys()]
  }

  model(): ReturnType<typeof keyValueModel> {
    return keyValueModel((key) => {
      const experiment = this.#initial.get(key)
      return { value: experiment?.description ?? '', version: experiment?.resource_version ?? 0, exact: true }
    })
  }

  /** One client until the signal: an operation, a pause, the next, now through this agent and now through that. */
  async run(fleet: Fleet, name: string, rng: Rng, signal: AbortSignal): Promise<void> {
    const seen = new Map<string, number>()
    let agent = rng.pick(fleet.agents)
    // Some outwait the agents and are told how it ended, some give up before.
    const patienceMs = rng.pick([1000, 3000, 6000, 12_000])
    while (!signal.aborted) {
      const key = rng.pick(this.keys)
      const version = seen.get(key)
      const kind = rng.pick(['get', 'get', 'put', 'cas'] as const)
      const client = fleet.client(agent, patienceMs)
      const isSound =
        kind === 'get' || (kind === 'cas' && version === undefined)
          ? await this.read(client, name, key, seen)
          : await this.#write(client, name, key, seen, kind === 'cas' ? version : undefined)
      if (!isSound || rng.chance(0.05)) agent = rng.pick(fleet.agents)
      await delay(30 + rng.int(90), undefined, { signal }).catch(() => undefined)
    }
  }

  /** False when the agent did not answer. */
  async read(client: Client, name: string, key: string, seen = new Map<string, number>()): Promise<boolean> {
    const operation = this.history.call(name, { kind: 'get', key })
    try {
      const params = { experiment: key }
      const { description, resource_version } = await client.call('experiments.get', { params })
      operation.answered({ value: description, version: resource_version })
      seen.set(key, resource_version)
      this.#tally.count('read', 'ok')
      return true
    } catch (error) {
      operation.refused()
      this.#tally.count('read', 'failed', error)
      return false
    }
  }

  async #write(
    client: Client,
    name: string,
    key: string,
    seen: Map<string, number>,
    over: number | undefined,
  ): Promise<boolean> {
    const value = `${name}.${++this.#written}`
    const input: KeyValueInput =
      over === undefined ? { kind: 'put', key, value } : { kind: 'cas', key, version: over, value }
    const operation = this.history.call(name, input)
    const kind = over === undefined ? 'write' : 'write over a version'
    try {
      const edited = await client.call('experiments.edit', {
        params: { experiment: key },
        body: { description: value },
        ...(over === undefined ? {} : { headers: { 'if-match': `"${over}"` } }),
      })
      this.#count(key, 'acknowledged')
      this.#tally.count(kind, 'ok')
      seen.set(key, edited.resource_version)
      // Others may have written between the change and the answer, which then shows their version.
      const own = edited.description === value ? { version: edited.resource_version } : {}
      operation.answered({ done: true, ...own })
      return true
    } catch (error) {
      return this.#failed(operation, key, seen, kind, error)
    }
  }

  #failed(
    operation: UnderWay<KeyValueOutput>,
    key: string,
    seen: Map<string, number>,
    kind: string,
    error: unknown,
  ): boolean {
    if (error instanceof ProblemError && error.code === 'precondition_failed') {
      operation.answered({ done: false })
      this.#tally.count(kind, 'ok')
      seen.delete(key)
      return true
    }
    const end = endOf(error)
    this.#tally.count(kind, end, error)
    if (end === 'unknown') this.#count(key, 'unknown')
    if (end === 'unknown') operation.unknown()
    else operation.refused()
    return false
  }

  #count(key: string, end: 'acknowledged' | 'unknown'): void {
    const counts = this.edits.get(key)
    if (counts) counts[end]++
  }
}

const isKeptTwice = ({ log, artifacts }: Experiment['tasks'][number]) =>
  (log?.copies ?? 2) >= 2 && (artifacts?.copies ?? 2) >= 2

/** Ended, and what it left on two nodes: from then on its version moves only when somebody edits it. */
async function untilStill(client: Client, id: string): Promise<Experiment> {
  let experiment: Experiment | undefined
  await eventually(`register ${id} is still`, async () => {
    experiment = await client.call('experiments.get', { params: { experiment: id } })
    return isFinal(experiment.state) && experiment.tasks.every(isKeptTwice)
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${JSON.stringify(experiment)}`)
  })
  return experiment as Experiment
}
