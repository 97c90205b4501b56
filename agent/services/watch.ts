import { type Actor, type Experiment, permits, ProblemError, type WatchEvent } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { State } from '../cluster/state.ts'
import type { ServiceDeps } from './context.ts'
import { type Change, type ChangeKind, changesOf, keyOf } from './changes.ts'
import { experimentView, livenessOf, nodeView } from './views.ts'
import { demand, mayRead } from './access.ts'
import { teamsOf } from './actors.ts'
import { liveSeenBy, mayReadEvent, nodeSeenBy } from './seen.ts'

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
  /** By name, since which version somebody sees other things than before. */
  readonly #movedAt = new Map<string, number>()
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
        else {
          this.#keep(changesOf(applied, this.#before, after))
          this.#moved(moved(this.#before, after), applied.index)
        }
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
    const name = actor.kind === 'user' ? actor.name : undefined
    if (after < (this.#movedAt.get(name ?? '') ?? 0))
      throw new ProblemError('watch_expired', 'what you may see has changed since')
    const sees = (change: Change) =>
      change.index > after && wanted.has(change.kind) ? seenBy(actor, change) : undefined
    const usage = wanted.has('usage') && permits(actor, 'node:read')
    const missed = this.#ring.flatMap((change) => sees(change) ?? [])
    const subscription = new Subscription(this.#cluster, {
      sees,
      usage,
      most: this.#limits.waiting,
      after,
      name,
      actor,
    })
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

  /** What they see is not what they saw, though nothing of it changed: they list again. */
  #moved(names: readonly string[], index: number): void {
    for (const name of names) this.#movedAt.set(name, index)
    if (names.length > 0)
      for (const each of this.#subscriptions)
        if (each.name !== undefined && names.includes(each.name)) each.end()
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

interface Watcher {
  /** A change as they see it; undefined when they do not. */
  readonly sees: (change: Change) => Change | undefined
  readonly usage: boolean
  readonly most: number
  readonly after: number
  readonly name: string | undefined
  readonly actor: Actor
}

/** One reader. What waits for it is bounded: newer changes of an object replace older ones, and past that it ends. */
class Subscription {
  readonly #cluster: Cluster
  /** Whose it is; undefined when no person's. */
  readonly name: string | undefined
  readonly #sees: Watcher['sees']
  readonly #actor: Actor
  readonly #wantsUsage: boolean
  readonly #most: number
  readonly #waiting = new Map<string, Change>()
  #reached: number
  #usageDue = true
  #bookmarkDue = true
  #ended = false
  #wake = () => {}

  constructor(cluster: Cluster, { sees, usage, most, after, name, actor }: Watcher) {
    this.#actor = actor
    this.#cluster = cluster
    this.#sees = sees
    this.#wantsUsage = usage
    this.#most = most
    this.#reached = after
    this.name = name
  }

  push(made: Change): void {
    if (this.#ended) return
    const change = this.#sees(made)
    if (!change) return
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
    return { data: usageOf(this.#cluster, this.#actor) }
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
    return { id: String(this.#reached), data: eventOf(this.#cluster, this.#actor, change) }
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

/** A change as this actor sees it: what they may know of no longer is gone for them, and what they now may is new. */
function seenBy(actor: Actor, change: Change): Change | undefined {
  if (change.kind === 'node') return permits(actor, 'node:read') ? change : undefined
  if (change.kind === 'event') return mayReadEvent(actor, change.state, change.event) ? change : undefined
  const { row, was } = change
  const saw = was !== undefined && mayRead(actor, was)
  if (change.type === 'DELETED') return saw ? change : undefined
  if (mayRead(actor, row)) return saw || was === undefined ? change : { ...change, type: 'ADDED' }
  return saw ? { ...change, type: 'DELETED', row: was } : undefined
}

/** Who belongs to other teams, or has another rank, than before. */
function moved(before: State, after: State): string[] {
  if (before.teams === after.teams && before.users === after.users) return []
  const standing = (state: State, name: string) =>
    JSON.stringify([state.users.get(name)?.rank, teamsOf(state, name)])
  return [...after.users.keys()].filter((name) => standing(before, name) !== standing(after, name))
}

function eventOf(cluster: Cluster, actor: Actor, change: Change): WatchEvent {
  if (change.kind === 'event') return { kind: 'event', type: 'ADDED', object: change.event }
  const { type, state, index } = change
  if (change.kind === 'experiment')
    return { kind: 'experiment', type, object: withVersion(experimentView(state, change.row), type, index) }
  // A node shows what its tasks hold, so it changes with them, though its row does not.
  const node = nodeSeenBy(actor, state, nodeView(cluster, state, change.row))
  return { kind: 'node', type, object: { ...node, resource_version: index } }
}

/** What is gone is shown as it last was; that it went is newer than that. */
function withVersion(object: Experiment, type: Change['type'], index: number): Experiment {
  return type === 'DELETED' ? { ...object, resource_version: index } : object
}

function usageOf(cluster: Cluster, actor: Actor): WatchEvent {
  const state = cluster.state()
  const object = [...state.nodes.keys()].map((node) => ({ node, ...liveSeenBy(actor, state, livenessOf(cluster, node)) })) // prettier-ignore
  return { kind: 'usage', type: 'MODIFIED', object }
}
