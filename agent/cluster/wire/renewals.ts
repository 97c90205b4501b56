import { json } from 'node:stream/consumers'
import { z } from 'zod'
import type { Cluster, ClusterStatus } from '../cluster.ts'
import { nodeIdOf } from '../rules/members.ts'

type Config = readonly number[]
type Confs = readonly Config[]

const quorum = (config: Config): number => Math.floor(config.length / 2) + 1

/** Are they a majority of each configuration? Of none, nobody is. */
export const isMajority = (confs: Confs, members: ReadonlySet<number>): boolean =>
  confs.length > 0 &&
  confs.every((config) => config.filter((one) => members.has(one)).length >= quorum(config))

/** The longest time that a majority of each configuration says it was; 0 when no majority answered. */
export function vouchedFor(confs: Confs, ages: ReadonlyMap<number, number>): number {
  const each = confs.map((config) => {
    const known = config.flatMap((one) => ages.get(one) ?? []).toSorted((a, b) => b - a)
    return known[quorum(config) - 1] ?? 0
  })
  return each.length ? Math.min(...each) : 0
}

/** Whom a voter told that there is no leader, and when. */
export class Told {
  readonly #since: number
  readonly #at = new Map<string, number>()

  /** What it told before a restart it does not know, so that counts as told then. */
  constructor(since: number) {
    this.#since = since
  }

  tell(node: string, now: number): void {
    this.#at.set(node, now)
  }

  /** How long it has told this node nothing of the kind. */
  age(node: string, now: number): number {
    return now - (this.#at.get(node) ?? this.#since)
  }
}

const Asked = z.object({ node: z.string().max(100) })
const Confirmed = z.object({
  leaderless: z.boolean(),
  confs: z.array(z.array(z.int().positive()).max(100)).max(2),
})
const Age = z.object({ age_ms: z.number().min(0) })

export interface RenewalsOptions {
  readonly cluster: Pick<Cluster, 'self' | 'status' | 'onStatus'> & {
    readonly peers: Pick<Cluster['peers'], 'request' | 'serve'>
  }
  /** Milliseconds on a clock that goes on while the host sleeps. */
  readonly clock: () => number
  readonly timeoutMs?: number
}

/** Answers that took longer say too little of the moment of asking; far less than what a leader waits beyond a lease. */
const roundMs = 5_000

/**
 * Leases while nobody leads. A node that no leader hears asks the voters, and when a majority of them knows no leader
 * either, its leases count from that moment. Each voter remembers whom it told so, and a leader asks a majority before
 * it gives a lease up: the two share a voter, so a leader that comes back into touch with the others, in office all
 * the while, does not count silence across a renewal.
 */
export class Renewals {
  readonly #options: RenewalsOptions
  readonly #told: Told
  /** A voter that has heard no leader since it started may not know who votes now. */
  #wasLed = false
  /** Since when these vote: who voted before may have told somebody. */
  #confs: { readonly key: string; readonly since: number }
  readonly #unsubscribe: () => void

  constructor(options: RenewalsOptions) {
    const { cluster, clock } = options
    this.#options = options
    this.#told = new Told(clock())
    this.#confs = { key: keyOf(cluster.status()), since: clock() }
    this.#wasLed = cluster.status().leader !== null
    this.#unsubscribe = cluster.onStatus((status) => this.#look(status))
    cluster.peers.serve('/lease/leaderless', async (from, request, response) => {
      request.resume()
      response.end(JSON.stringify(this.#confirm(from)))
    })
    cluster.peers.serve('/lease/told', async (_, request, response) => {
      const { node } = Asked.parse(await json(request))
      response.end(JSON.stringify({ age_ms: this.#told.age(node, clock()) } satisfies z.input<typeof Age>))
    })
  }

  stop(): void {
    this.#unsubscribe()
  }

  /** When a majority of the voters was asked that knows no leader; undefined when it does, or did not answer. */
  async ask(): Promise<number | undefined> {
    const { cluster, clock } = this.#options
    const asked = clock()
    const answers = await this.#ofVoters('/lease/leaderless', '{}', Confirmed, () =>
      this.#confirm(cluster.self.node),
    )
    const without = [...answers].filter(([, { leaderless }]) => leaderless)
    const confs = [...confsOf(cluster.status()), ...without.flatMap(([, answer]) => answer.confs)]
    const isSo = isMajority(confs, new Set(without.map(([member]) => member)))
    return isSo && clock() - asked < roundMs ? asked : undefined
  }

  /** For how long, ms, a majority of the voters is sure not to have renewed this node's leases. */
  async sinceRenewed(node: string): Promise<number> {
    const { cluster, clock } = this.#options
    const answers = await this.#ofVoters('/lease/told', JSON.stringify({ node }), Age, () => ({
      age_ms: this.#told.age(node, clock()),
    }))
    const ages = new Map([...answers].map(([member, { age_ms }]) => [member, age_ms]))
    return Math.min(vouchedFor(confsOf(cluster.status()), ages), clock() - this.#confs.since)
  }

  #confirm(node: string): z.infer<typeof Confirmed> {
    const status = this.#options.cluster.status()
    const leaderless = status.leader === null && this.#wasLed
    if (leaderless) this.#told.tell(node, this.#options.clock())
    return { leaderless, confs: confsOf(status).map((config) => [...config]) }
  }

  #look(status: ClusterStatus): void {
    this.#wasLed ||= status.leader !== null
    const key = keyOf(status)
    if (key !== this.#confs.key) this.#confs = { key, since: this.#options.clock() }
  }

  /** Each voter's answer; who gives none is left out. */
  async #ofVoters<T>(
    path: string,
    body: string,
    schema: z.ZodType<T>,
    own: () => T,
  ): Promise<Map<number, T>> {
    const { cluster, timeoutMs = 1_000 } = this.#options
    const voters = new Set(confsOf(cluster.status()).flat())
    const ask = async (member: number): Promise<[number, T][]> => {
      if (member === cluster.self.member) return [[member, own()]]
      const signal = AbortSignal.timeout(timeoutMs)
      try {
        const answer = await cluster.peers.request(nodeIdOf(member), { method: 'POST', path, body, timeoutMs, signal }) // prettier-ignore
        return [[member, schema.parse(await json(answer.body))]]
      } catch {
        return []
      }
    }
    return new Map((await Promise.all([...voters].map(ask))).flat())
  }
}

const confsOf = ({ voters, leaving }: ClusterStatus): Confs => (leaving.length ? [voters, leaving] : [voters])
const keyOf = (status: ClusterStatus) => JSON.stringify(confsOf(status))
