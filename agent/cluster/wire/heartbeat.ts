import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import { Liveness, ProblemError, Usage } from '../../../contract/index.ts'
import type { NodeLiveness, Peers } from '../cluster.ts'
import type { AddressBook } from './address-book.ts'
import { readWhole } from './exchange.ts'
import { judgement, Ledger } from './judge.ts'
import type { Log } from './tls.ts'

export interface HeartbeatOptions {
  readonly peers: Pick<Peers, 'request' | 'serve'> & {
    setLiveness(table: ReadonlyMap<string, NodeLiveness>): void
  }
  /** This node's id. */
  readonly self: string
  /** Node id of the leader as far as this agent knows. */
  readonly leader: () => string | null
  /** Ids of all nodes, this one included. */
  readonly nodes: () => readonly string[]
  readonly usage: () => Promise<Usage>
  /** Where members are reached, passed on so that two that lost each other meet again through a third. */
  readonly addresses: Pick<AddressBook, 'learned' | 'hint'>
  /** Milliseconds on a clock that never jumps. */
  readonly clock: () => number
  /** For leases, and for how old the copies of the state are. */
  readonly lease?: {
    /** When a majority last confirmed this leader. */
    readonly office: () => Office | null
    /** A heartbeat sent at that time of `sinceBoot` was taken by a leader in office. */
    readonly heard: (at: number) => void
    /** No leader took this heartbeat. */
    readonly unheard?: () => void
    readonly sinceBoot: () => number
    /** The leader was confirmed so long ago, ms, and had applied this entry then. */
    readonly told?: (ageMs: number, index: number) => void
  }
  readonly log: Log
  readonly intervalMs?: number
}

/** A majority's confirmation of a leader: how long ago, ms, it was asked for, and what the leader had applied then. */
export interface Office {
  readonly ageMs: number
  readonly index: number
}

const Addresses = z.array(z.tuple([z.int().positive(), z.string().max(300)])).max(1000)
const Beat = z.object({
  usage: Usage.nullable(),
  restarting: z.boolean().default(false),
  addresses: Addresses.default([]),
})
const Row = z.object({
  node: z.string(),
  liveness: Liveness,
  silent_ms: z.int().nullable(),
  usage: Usage.nullable(),
})
const Table = z.object({
  nodes: z.array(Row),
  addresses: Addresses.default([]),
  office_ms: z.number().nullable().default(0),
  office_index: z.int().optional(),
})
const maxBytes = 4 << 20

/**
 * Every second each node tells the leader that it lives and how loaded it is, and hears how the leader judges all
 * nodes. Nothing of it enters the log, and nobody's wall clock counts.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions
  readonly #intervalMs: number
  /** Defined while this node leads. */
  #ledger: Ledger | undefined
  /** Kept by every node, for whoever leads next. */
  readonly #restarting = new Map<string, number>()
  #table: ReadonlyMap<string, NodeLiveness> = new Map()
  #tableAt: number
  #lastBeat: number
  #usage: Usage | null = null
  #measuring = false
  #calling = false
  #beating: Promise<void> | undefined
  /** Ends what waits for a leader that is none any more. */
  #asking = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: HeartbeatOptions) {
    this.#options = options
    this.#intervalMs = options.intervalMs ?? 1_000
    this.#tableAt = this.#lastBeat = options.clock()
    options.peers.serve('/heartbeat', (from, request, response) => this.#answer(from, request, response))
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.#beatUnlessBeating(), this.#intervalMs)
  }

  /**
   * Who leads has changed: an answer of the one before is not waited for, and a new leader's clocks begin at once. A
   * host that vanished would otherwise keep its successor waiting.
   */
  async leaderChanged(): Promise<void> {
    this.#asking.abort()
    this.#asking = new AbortController()
    await this.#beating
    if (!this.#stopped) await this.#beatUnlessBeating()
  }

  #beatUnlessBeating(): Promise<void> {
    this.#beating ??= this.beat().finally(() => (this.#beating = undefined))
    return this.#beating
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#stopped = true
  }

  /** One heartbeat; never throws. */
  async beat(): Promise<void> {
    this.#measure()
    this.#lead()
    const leader = this.#options.leader()
    if (this.#ledger) return this.#publishOwn(this.#ledger)
    if (leader === null || leader === this.#options.self || !(await this.#report(leader))) {
      this.#doubt(leader === null)
      this.#callAround()
      this.#options.lease?.unheard?.()
    }
  }

  /** A planned restart: every node is told, since any of them may lead while this one is away. */
  async announceRestart(): Promise<void> {
    // A heartbeat after it would take it back.
    this.stop()
    const others = this.#options.nodes().filter((node) => node !== this.#options.self)
    await Promise.allSettled(others.map((node) => this.#tell(node, true)))
  }

  /** Take up or lay down the ledger as leadership comes and goes, and notice that this process stood still. */
  #lead(): void {
    const { leader, self, clock } = this.#options
    const now = clock()
    const slept = now - this.#lastBeat - this.#intervalMs
    this.#lastBeat = now
    if (leader() !== self) this.#ledger = undefined
    else if (!this.#ledger) this.#ledger = new Ledger(this.#table)
    else if (slept > this.#intervalMs) this.#ledger.slept(slept)
  }

  #publishOwn(ledger: Ledger): void {
    const { self, nodes, clock } = this.#options
    const now = clock()
    ledger.heard(self, now, this.#usage)
    this.#publish(ledger.table(nodes(), now, this.#restarting))
    const { lease } = this.#options
    if (lease) this.#taken(lease.sinceBoot(), lease.office()?.ageMs ?? null)
  }

  /** A leader deposed without knowing takes heartbeats too: it counts only as of when it was last confirmed. */
  #taken(sentAt: number, officeAge: number | null): void {
    if (officeAge !== null) this.#options.lease?.heard(sentAt - officeAge)
  }

  async #report(leader: string): Promise<boolean> {
    const { lease } = this.#options
    const sentAt = lease?.sinceBoot() ?? 0
    try {
      const body = await this.#tell(leader, false, this.#asking.signal)
      const { nodes, addresses, office_ms, office_index } = Table.parse(JSON.parse(body))
      this.#hear(addresses)
      this.#taken(sentAt, office_ms)
      if (lease && office_ms !== null && office_index !== undefined)
        lease.told?.(lease.sinceBoot() - sentAt + office_ms, office_index)
      // Whoever answered may have been deposed meanwhile; the next beat goes to its successor.
      this.#publish(new Map(nodes.map(({ node, ...judged }) => [node, judged])))
      return true
    } catch (error) {
      this.#options.log.debug({ leader, error: String(error) }, 'no answer to the heartbeat')
      return false
    }
  }

  async #tell(node: string, restarting: boolean, until?: AbortSignal): Promise<string> {
    const limit = AbortSignal.timeout(4 * this.#intervalMs)
    const { body } = await this.#options.peers.request(node, {
      method: 'POST',
      path: '/heartbeat',
      body: JSON.stringify({ usage: this.#usage, restarting, addresses: this.#learned() } satisfies z.input<
        typeof Beat
      >),
      timeoutMs: 2 * this.#intervalMs,
      signal: until ? AbortSignal.any([limit, until]) : limit,
    })
    return readWhole(body, maxBytes)
  }

  async #answer(from: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parsed = Beat.safeParse(JSON.parse(await readWhole(request, maxBytes)))
    if (!parsed.success) throw new ProblemError('invalid_request', z.prettifyError(parsed.error))
    const { usage, restarting, addresses } = parsed.data
    this.#hear(addresses)
    const now = this.#options.clock()
    if (restarting) this.#restarting.set(from, now + judgement.restartGraceMs)
    else this.#restarting.delete(from)
    if (this.#options.leader() !== this.#options.self) throw new ProblemError('no_leader')
    this.#ledger ??= new Ledger(this.#table)
    this.#ledger.heard(from, now, usage)
    const table = this.#ledger.table(this.#options.nodes(), now, this.#restarting)
    response.setHeader('content-type', 'application/json')
    const rows = [...table].map(([node, judged]) => ({ node, ...judged }))
    const office = this.#options.lease?.office() ?? null
    const confirmed = { office_ms: office?.ageMs ?? null, office_index: office?.index }
    response.end(
      JSON.stringify({ nodes: rows, addresses: this.#learned(), ...confirmed } satisfies z.input<
        typeof Table
      >),
    )
  }

  #learned(): [number, string][] {
    return [...this.#options.addresses.learned()]
  }

  #hear(addresses: readonly [number, string][]): void {
    for (const [member, address] of addresses) this.#options.addresses.hint(member, address)
  }

  #publish(table: ReadonlyMap<string, NodeLiveness>): void {
    this.#tableAt = this.#options.clock()
    this.#table = table
    this.#options.peers.setLiveness(table)
  }

  /** Nobody judges: the last figures stay, but say nothing of now. */
  #doubt(atOnce: boolean): void {
    if (!atOnce && this.#options.clock() - this.#tableAt < judgement.suspectMs) return
    const unknown = [...this.#table].map(
      ([node, { usage }]) => [node, { liveness: 'unknown', silent_ms: null, usage }] as const,
    )
    this.#table = new Map(unknown)
    this.#options.peers.setLiveness(this.#table)
  }

  /**
   * Without a leader's answer, this host may have moved and nobody finds it any more: every request carries its
   * address, so asking the others lets them find it again.
   */
  #callAround(): void {
    if (this.#calling) return
    this.#calling = true
    const { nodes, self, leader } = this.#options
    const others = nodes().filter((node) => node !== self && node !== leader())
    void Promise.allSettled(others.map((node) => this.#tell(node, false))).then(() => (this.#calling = false))
  }

  /** Measuring may be slow or fail; the heartbeat goes on with the last figures. */
  #measure(): void {
    if (this.#measuring) return
    this.#measuring = true
    this.#options
      .usage()
      .then(
        (usage) => (this.#usage = usage),
        (error: unknown) => this.#options.log.warn({ error: String(error) }, 'usage could not be measured'),
      )
      .finally(() => (this.#measuring = false))
  }
}
