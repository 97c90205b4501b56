import type { IncomingMessage, ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { ProblemError } from '../../contract/index.ts'
import type { Cluster } from './cluster.ts'

const system = { kind: 'system' } as const
const Asked = z.object({ index: z.int().min(0) })
const Answer = z.object({ digest: z.number().nullable() })
const Order = z.object({ right: z.array(z.string()).min(1).max(1000) })
const waitMs = 2_000

interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface ReplicaCheckOptions {
  readonly cluster: Cluster
  /** Digest of this replica's rows after an entry that it has applied; undefined when it is too long ago. */
  readonly digestAt: (index: number) => number | undefined
  /** Give leadership to a voter among these nodes; false when there is none. */
  readonly handOver: (nodes: readonly string[]) => Promise<boolean>
  /** Make this replica anew from one of these nodes. */
  readonly rebuild: (right: readonly string[]) => Promise<void>
  readonly log: Log
  readonly everyMs?: number
}

export interface Verdict {
  readonly right: readonly string[]
  readonly wrong: readonly string[]
  /** No digest has a majority: some of `wrong` may be right. */
  readonly undecided: boolean
}

/** Who has what most of those that answered have. Without a majority the asking replica is taken for right, for now. */
export function verdictOf(digests: ReadonlyMap<string, number>, self: string): Verdict {
  const counts = new Map<number, number>()
  for (const digest of digests.values()) counts.set(digest, (counts.get(digest) ?? 0) + 1)
  const [most = 0, count = 0] = [...counts].toSorted((a, b) => b[1] - a[1])[0] ?? []
  const undecided = count * 2 <= digests.size
  const standard = undecided ? digests.get(self) : most
  const nodes = [...digests.keys()]
  const isRight = (node: string) => digests.get(node) === standard
  return { right: nodes.filter(isRight), wrong: nodes.filter((node) => !isRight(node)), undecided }
}

/**
 * Replicas that applied the same entries have the same rows. Every few seconds the leader asks all for their digest at
 * one entry; whoever differs from the majority is named in an event and makes its state anew from one that does not.
 * Nothing of it enters the log but what was found.
 */
export class ReplicaCheck {
  readonly #options: ReplicaCheckOptions
  readonly #timer: NodeJS.Timeout
  #checking = false
  #rebuilding = false

  constructor(options: ReplicaCheckOptions) {
    this.#options = options
    const { peers } = options.cluster
    peers.serve('/state-digest', (_from, request, response) => this.#answer(request, response))
    peers.serve('/state-rebuild', (from, request, response) => this.#obey(from, request, response))
    this.#timer = setInterval(() => void this.check(), options.everyMs ?? 10_000)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** One comparison, on the leader; never throws. */
  async check(): Promise<void> {
    const { cluster, log } = this.#options
    if (this.#checking || !cluster.status().isLeader) return
    this.#checking = true
    try {
      await this.#judge(verdictOf(await this.#ask(), cluster.self.node))
    } catch (error) {
      log.warn({ err: error }, 'the replicas could not be compared')
    } finally {
      this.#checking = false
    }
  }

  async #ask(): Promise<Map<string, number>> {
    const { cluster, digestAt } = this.#options
    const index = cluster.status().applied
    const own = digestAt(index)
    const digests = new Map<string, number>()
    if (own === undefined) return digests
    digests.set(cluster.self.node, own)
    const others = [...cluster.state().nodes.keys()].filter((node) => node !== cluster.self.node)
    const body = JSON.stringify({ index })
    await Promise.all(
      others.map(async (node) => {
        const asked = cluster.peers.request(node, { method: 'POST', path: '/state-digest', body })
        // Who is away is asked again next time.
        const answer = await asked
          .then(async (it) => Answer.parse(await json(it.body)))
          .catch(() => undefined)
        if (answer && answer.digest !== null) digests.set(node, answer.digest)
      }),
    )
    return digests
  }

  async #judge({ right, wrong, undecided }: Verdict): Promise<void> {
    const { cluster, log } = this.#options
    for (const node of right)
      await this.#note(node, false, 'its copy of the state is as the others are again')
    if (!wrong.length) return
    if (undecided) {
      log.error({ right, wrong }, 'replicas differ, and no majority says which is right')
      const message = 'it differs from the leader’s, and no majority says which is right'
      for (const node of wrong) await this.#note(node, true, message)
      return
    }
    log.error({ right, wrong }, 'replicas differ from the majority and make their state anew')
    for (const node of wrong) await this.#note(node, true, 'it differs from the majority’s and is made anew')
    const self = cluster.self.node
    // The new leader will find it in its turn.
    if (wrong.includes(self) && (await this.#options.handOver(right))) return
    for (const node of wrong) await (node === self ? this.#rebuild(right) : this.#order(node, right))
  }

  /** Said once, when it changes. */
  async #note(node: string, differs: boolean, message: string): Promise<void> {
    const { cluster } = this.#options
    const row = cluster.state().nodes.get(node)
    if (!row || differs === Boolean(row.state_differs)) return
    await cluster.propose({ type: 'node.replica', node, differs, message }, system)
  }

  async #order(node: string, right: readonly string[]): Promise<void> {
    const { cluster, log } = this.#options
    const body = JSON.stringify({ right })
    await cluster.peers
      .request(node, { method: 'POST', path: '/state-rebuild', body })
      .then(({ body: answer }) => answer.resume())
      .catch((error: unknown) =>
        log.warn({ err: error, node }, 'a replica could not be told to make its state anew'),
      )
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { cluster, digestAt } = this.#options
    const { index } = Asked.parse(await json(request))
    for (const until = performance.now() + waitMs; cluster.status().applied < index; await delay(20))
      if (performance.now() > until) throw new ProblemError('busy', 'this replica is behind')
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ digest: digestAt(index) ?? null } satisfies z.input<typeof Answer>))
  }

  async #obey(from: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (from !== this.#options.cluster.status().leader)
      throw new ProblemError('forbidden', 'only the leader may order that')
    const { right } = Order.parse(await json(request))
    response.writeHead(202).end()
    void this.#rebuild(right)
  }

  async #rebuild(right: readonly string[]): Promise<void> {
    const { log, rebuild } = this.#options
    if (this.#rebuilding) return
    this.#rebuilding = true
    try {
      log.error({ right }, 'this replica differs from the majority: its state is made anew')
      await rebuild(right)
    } catch (error) {
      log.warn({ err: error }, 'the state could not be made anew; tried again when the leader finds it again')
    } finally {
      this.#rebuilding = false
    }
  }
}
