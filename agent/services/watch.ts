import {
  type Actor,
  type Event,
  type Experiment,
  permits,
  ProblemError,
  type WatchEvent,
} from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { State } from '../cluster/state.ts'
import type { ServiceDeps } from './context.ts'
import { type Change, type ChangeKind, changesOf, keyOf } from './changes.ts'
import { experimentView, livenessOf, nodeView } from './views.ts'
import { demand } from './access.ts'

const kinds = ['experiment', 'node', 'event', 'usage'] as const
export type WatchKind = (typeof kinds)[number]

export interface WatchItem {
  /** Where to resume; absent for live figures, which are in no log. */
  readonly id?: string
  readonly data: WatchEvent
}

export interface WatchQuery {
  /** Comma-separated kinds. */
  readonly kinds: string
  /** Changes after this version; default: after now. */
  readonly after?: number | undefined
}

export interface WatchService {
  /** Checks the request at once; ends when `signal` aborts, or when the reader is too slow and must resume. */
  open(actor: Actor, query: WatchQuery, signal: AbortSignal): AsyncIterable<WatchItem>
  close(): void
}

/** Changes kept to resume after. */
const mostKept = 10_000
const mostWaiting = 2000
const bookmarkMs = 5000
const usageMs = 1000

/** Turns applied entries into events for everyone who watches this agent. */
export class Watch implements WatchService {
  readonly #cluster: Cluster
  readonly #limits: { readonly kept: number; readonly waiting: number }
  readonly #subscriptions = new Set<Subscription>()
  readonly #stop: (() => void)[]
  #before: State
  /** Changes after this version are in the ring, up to the newest. */
  #from: number
  #ring: Change[] = []
  #usageAt = 0
  #usageTimer: NodeJS.Timeout | undefined

  constructor(
    { cluster }: Pick<ServiceDeps, 'cluster'>,
    limits: { readonly kept?: number; readonly waiting?: number } = {},
  ) {
    this.#cluster = cluster
    this.#limits = { kept: limits.kept ?? mostKept, waiting: limits.waiting ?? mostWaiting }
    this.#before = cluster.state()
    this.#from = cluster.status().applied
    let leader = cluster.status().leader
    this.#stop = [
      cluster.onApplied((applied) => {
        const after = cluster.state()
        if (applied.restored) this.#startOver(applied.index)
        else this.#keep(changesOf(applied, this.#before, after))
        this.#before = after
      }),
      cluster.onStatus((status) => {
        if (status.leader !== leader) for (const each of this.#subscriptions) each.bookmark()
        leader = status.leader
      }),
      cluster.peers.onLiveness(() => this.#usageSoon()),
    ]
  }

  open(actor: Actor, query: WatchQuery, signal: AbortSignal): AsyncIterable<WatchItem> {
    demand(actor, 'self:read')
    const wanted = readKinds(query.kinds)
    const now = Math.max(this.#cluster.status().applied, this.#ring.at(-1)?.index ?? 0)
    const after = query.after ?? now
    if (after < this.#from)
      throw new ProblemError('watch_expired', `changes are kept here since version ${this.#from}`)
    const sees = (change: Change) =>
      change.index > after && wanted.has(change.kind) && mayWatch(actor, change)
    const usage = wanted.has('usage') && permits(actor, 'node:read')
    const missed = this.#ring.filter(sees)
    const subscription = new Subscription(this.#cluster, sees, usage, this.#limits.waiting, after)
    this.#subscriptions.add(subscription)
    const end = () => this.#drop(subscription)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
    return this.#run(subscription, missed)
  }

  close(): void {
    for (const stop of this.#stop) stop()
    clearTimeout(this.#usageTimer)
    for (const each of this.#subscriptions) each.end()
  }

  async *#run(subscription: Subscription, missed: readonly Change[]): AsyncGenerator<WatchItem> {
    try {
      yield* subscription.read(missed)
    } finally {
      this.#drop(subscription)
    }
  }

  #drop(subscription: Subscription): void {
    subscription.end()
    this.#subscriptions.delete(subscription)
  }

  #keep(changes: readonly Change[]): void {
    for (const change of changes) {
      this.#ring.push(change)
      for (const each of this.#subscriptions) each.push(change)
    }
    if (this.#ring.length <= this.#limits.kept * 1.1) return
    // A version is kept whole or not at all.
    let cut = this.#ring.length - this.#limits.kept
    const last = this.#ring[cut - 1]?.index ?? 0
    while (this.#ring[cut]?.index === last) cut++
    this.#ring = this.#ring.slice(cut)
    this.#from = last
  }

  /** The state was replaced as a whole: nobody can say what changed, so everyone lists again. */
  #startOver(index: number): void {
    this.#ring = []
    this.#from = index
    for (const each of this.#subscriptions) each.end()
  }

  #usageSoon(): void {
    if (this.#usageTimer) return
    const wait = Math.max(0, this.#usageAt + usageMs - performance.now())
    this.#usageTimer = setTimeout(() => {
      this.#usageTimer = undefined
      this.#usageAt = performance.now()
      for (const each of this.#subscriptions) each.usage()
    }, wait).unref()
  }
}

/** One reader. What waits for it is bounded: newer changes of an object replace older ones, and past that it ends. */
class Subscription {
  readonly #cluster: Cluster
  readonly #sees: (change: Change) => boolean
  readonly #wantsUsage: boolean
  readonly #most: number
  readonly #waiting = new Map<string, Change>()
  #reached: number
  #usageDue = true
  #bookmarkDue = true
  #ended = false
  #wake = () => {}

  constructor(
    cluster: Cluster,
    sees: (change: Change) => boolean,
    wantsUsage: boolean,
    most: number,
    after: number,
  ) {
    this.#cluster = cluster
    this.#sees = sees
    this.#wantsUsage = wantsUsage
    this.#most = most
    this.#reached = after
  }

  push(change: Change): void {
    if (this.#ended || !this.#sees(change)) return
    const key = keyOf(change)
    const older = this.#waiting.get(key)
    this.#waiting.delete(key)
    const type = older?.type === 'ADDED' && change.type === 'MODIFIED' ? 'ADDED' : change.type
    this.#waiting.set(key, { ...change, type })
    if (this.#waiting.size > this.#most) this.end()
    else this.#wake()
  }

  usage(): void {
    this.#usageDue = true
    this.#wake()
  }

  bookmark(): void {
    this.#bookmarkDue = true
    this.#wake()
  }

  end(): void {
    this.#ended = true
    this.#waiting.clear()
    this.#wake()
  }

  async *read(missed: readonly Change[]): AsyncGenerator<WatchItem> {
    const timer = setInterval(() => this.bookmark(), bookmarkMs).unref()
    try {
      for (const [at, change] of missed.entries()) {
        if (this.#ended) return
        yield this.#item(change, missed[at + 1])
      }
      while (!this.#ended) {
        const item = this.#next()
        if (item) yield item
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      clearInterval(timer)
    }
  }

  #next(): WatchItem | undefined {
    const [first, second] = this.#waiting
    if (first) {
      this.#waiting.delete(first[0])
      return this.#item(first[1], second?.[1])
    }
    if (this.#bookmarkDue) return this.#bookmark()
    if (!this.#usageDue || !this.#wantsUsage) return undefined
    this.#usageDue = false
    return { data: usageOf(this.#cluster) }
  }

  /** Nothing waits, so everything this agent applied has been told. */
  #bookmark(): WatchItem {
    this.#bookmarkDue = false
    const { applied, leader } = this.#cluster.status()
    this.#reached = Math.max(this.#reached, applied)
    const object = { resource_version: this.#reached, leader }
    return { id: String(this.#reached), data: { kind: 'bookmark', type: 'BOOKMARK', object } }
  }

  /** Of several changes of one version only the last carries it: whoever resumes in between gets the rest again. */
  #item(change: Change, next: Change | undefined): WatchItem {
    const told = next?.index === change.index ? change.index - 1 : change.index
    this.#reached = Math.max(this.#reached, told)
    return { id: String(this.#reached), data: eventOf(this.#cluster, change) }
  }
}

function readKinds(text: string): Set<ChangeKind | 'usage'> {
  const names = text.split(',').map((name) => name.trim())
  const unknown = names.find((name) => !(kinds as readonly string[]).includes(name))
  if (unknown === undefined) return new Set(names as WatchKind[])
  throw new ProblemError('invalid_request', undefined, {
    errors: [{ pointer: '/query/kinds', message: `expected some of: ${kinds.join(', ')}` }],
  })
}

function mayWatch(actor: Actor, change: Change): boolean {
  if (change.kind === 'node') return permits(actor, 'node:read')
  if (change.kind === 'event') return permits(actor, 'event:read', subjectOf(change.state, change.event))
  return permits(actor, 'experiment:read', { owner: change.row.owner, workload: change.row.id })
}

function subjectOf(state: State, { subject }: Event): { owner?: string; workload?: string } {
  const id = subject.kind === 'task' ? state.tasks.get(subject.id)?.workload : subject.id
  const row = id === undefined ? undefined : state.experiments.get(id)
  return row ? { owner: row.owner, workload: row.id } : {}
}

function eventOf(cluster: Cluster, change: Change): WatchEvent {
  if (change.kind === 'event') return { kind: 'event', type: 'ADDED', object: change.event }
  const { type, state, index } = change
  if (change.kind === 'experiment')
    return { kind: 'experiment', type, object: withVersion(experimentView(state, change.row), type, index) }
  // A node shows what its tasks hold, so it changes with them, though its row does not.
  return { kind: 'node', type, object: { ...nodeView(cluster, state, change.row), resource_version: index } }
}

/** What is gone is shown as it last was; that it went is newer than that. */
function withVersion(object: Experiment, type: Change['type'], index: number): Experiment {
  return type === 'DELETED' ? { ...object, resource_version: index } : object
}

function usageOf(cluster: Cluster): WatchEvent {
  const object = [...cluster.state().nodes.keys()].map((node) => ({ node, ...livenessOf(cluster, node) }))
  return { kind: 'usage', type: 'MODIFIED', object }
}
