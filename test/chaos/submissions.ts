import { setTimeout as delay } from 'node:timers/promises'
import type { Client, Experiment } from '../../contract/index.ts'
import type { Rng } from '../../raft/testing/rng.ts'
import type { ChaosAgent } from './agent.ts'
import type { Fleet } from './fleet.ts'
import { endOf, type Tally } from './outcome.ts'

/** Submits of experiments, repeated under their key until one is acknowledged, some through two agents at once. */
export class Submissions {
  /** Key → ids it was answered with. */
  readonly answers = new Map<string, Set<string>>()
  readonly #tally: Tally

  constructor(tally: Tally) {
    this.#tally = tally
  }

  async run(fleet: Fleet, rng: Rng, signal: AbortSignal): Promise<void> {
    for (let number = 1; !signal.aborted; number++) {
      const key = `submit-${number}`
      this.answers.set(key, new Set())
      for (let tries = 0; tries < 20 && !signal.aborted; tries++) {
        const one = this.#submit(fleet, rng.pick(fleet.agents), key)
        const two = rng.chance(0.3) ? this.#submit(fleet, rng.pick(fleet.agents), key) : false
        const isDone = (await Promise.all([one, two])).includes(true)
        // Once more after an answer: a repeat is answered with what the first made.
        if (isDone && rng.chance(0.7)) break
        await pause(200 + rng.int(500), signal)
      }
      await pause(1500 + rng.int(1500), signal)
    }
  }

  async #submit(fleet: Fleet, agent: ChaosAgent, key: string): Promise<boolean> {
    // Every node is full, so it waits in the queue.
    const body = { name: key, command: 'true', resources: 'cpu=1, memory=16Mi' }
    const headers = { 'idempotency-key': key }
    try {
      const { id } = await fleet.client(agent).call('experiments.create', { body, headers })
      this.answers.get(key)?.add(id)
      this.#tally.count('submit', 'ok')
      return true
    } catch (error) {
      this.#tally.count('submit', endOf(error), error)
      return false
    }
  }

  get acknowledged(): number {
    return [...this.answers.values()].filter((ids) => ids.size > 0).length
  }

  /** What is wrong: an acknowledged one that is gone, or one that was made twice. */
  async faults(client: Client): Promise<string[]> {
    const made = Map.groupBy(await allExperiments(client), ({ name }) => name)
    return [...this.answers].flatMap(([key, answered]) => {
      const ids = (made.get(key) ?? []).map(({ id }) => id)
      const lost = [...answered].filter((id) => !ids.includes(id))
      return [
        ...(ids.length > 1 ? [`${key} made ${ids.length} experiments: ${ids.join(', ')}`] : []),
        ...lost.map((id) => `${key} was acknowledged as ${id}, which is lost`),
      ]
    })
  }
}

export async function allExperiments(
  client: Client,
  consistency: 'strong' | 'local' = 'strong',
): Promise<Experiment[]> {
  const all: Experiment[] = []
  let token: string | undefined
  do {
    const query = { page_size: 1000, consistency, ...(token === undefined ? {} : { page_token: token }) }
    const page = await client.call('experiments.list', { query })
    all.push(...page.items)
    token = page.next_page_token ?? undefined
  } while (token !== undefined)
  return all
}

const pause = (ms: number, signal: AbortSignal) => delay(ms, undefined, { signal }).catch(() => undefined)
