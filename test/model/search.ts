import type { Message } from '../../raft/types.ts'
import {
  INNOCENT,
  Violation,
  checkLogs,
  checkRead,
  checkStep,
  viewOf,
  witness,
  type Ghost,
  type View,
} from './ghost.ts'
import { freeze, textOf } from './graph.ts'
import type { Core } from './load.ts'
import { founder, happen, type Event, type Member } from './member.ts'
import { Numbering, StateSet } from './states.ts'

export interface Bounds {
  /** Begin where member 1 leads and everybody knows, not where nobody does. */
  readonly led: boolean
  /** Distinct states to stop at. */
  readonly states: number
  /** No member passes this term. The founders' is 1. */
  readonly maxTerm: number
  readonly maxMessages: number
  /** Followers that campaign when the lease is over. */
  readonly campaigners: readonly number[]
  /** Members whose disks take their time. */
  readonly slow: readonly number[]
  /** Ticks of leaders. */
  readonly beats: number
  readonly proposals: number
  readonly crashes: number
  readonly drops: number
  readonly duplicates: number
  readonly reads: number
}

export interface Report {
  readonly states: number
  readonly steps: number
  readonly depth: number
  /** Everything within the bounds was seen. */
  readonly complete: boolean
  readonly memberStates: number
  readonly histories: number
  /** The terms that were led, and the most entries committed, in any state. */
  readonly terms: readonly number[]
  readonly committed: number
  readonly messages: number
  readonly violation: { readonly what: string; readonly path: readonly string[] } | undefined
}

interface Move {
  readonly to: number
  readonly messages: readonly number[]
  readonly reads: readonly number[]
}

interface Known {
  readonly member: Member
  readonly view: View
  readonly moves: Map<number, Move | string | undefined>
}

const SIZE = 3
const WIDTH = SIZE + 3
const NET = SIZE
const GHOST = SIZE + 1
const SPENT = SIZE + 2
const kinds = [
  'tick',
  'persist',
  'propose',
  'crash',
  'crash, write done',
  'read',
  'deliver',
  'duplicate',
  'drop',
] as const
type Kind = (typeof kinds)[number]

const ignoredWhenOld = new Set<Message['type']>([
  'vote',
  'voteReply',
  'preVoteReply',
  'appendReply',
  'heartbeatReply',
])

/** Budgets used up, packed: four bits each. */
const spendable = ['beat', 'propose', 'crash', 'drop', 'duplicate', 'read'] as const
const shift = (what: (typeof spendable)[number]): number => spendable.indexOf(what) * 4

/**
 * Breadth-first search over all states of three members, their disks and the messages between them. An event changes
 * one member only, so members are numbered and what an event does to one is computed once, on the real core; the
 * states of the whole are rows of numbers.
 */
export class Search {
  readonly #core: Core
  readonly #bounds: Bounds
  readonly #members = new Numbering<Known>()
  readonly #logs = new Numbering<readonly string[]>()
  readonly #messages = new Numbering<Message>()
  readonly #nets = new Numbering<readonly number[]>()
  readonly #ghosts = new Numbering<Ghost>()
  readonly #pairs = new Set<number>()
  readonly #states: StateSet
  readonly #row = new Int32Array(WIDTH)
  readonly #next = new Int32Array(WIDTH)
  #steps = 0

  constructor(core: Core, bounds: Bounds) {
    this.#core = core
    this.#bounds = bounds
    this.#states = new StateSet(WIDTH, bounds.states)
  }

  run(): Report {
    for (let i = 0; i < SIZE; i++)
      this.#row[i] = this.#number(founder(this.#core, i + 1, this.#bounds.slow.includes(i + 1)))
    this.#row[NET] = this.#net([])
    this.#row[GHOST] = this.#ghost(INNOCENT)
    this.#states.add(this.#row, -1, 0)
    let at = 0
    let violation: Report['violation']
    try {
      for (; this.#prologue(at); at++);
      for (; at < this.#states.size && !this.#states.full; at++) {
        this.#states.read(at, this.#row)
        this.#expand(at)
      }
    } catch (e) {
      if (!(e instanceof Violation)) throw e
      violation = { what: e.message, path: this.#path(at) }
    }
    return {
      states: this.#states.size,
      steps: this.#steps,
      depth: this.#depth(this.#states.size - 1),
      complete: !violation && at === this.#states.size,
      memberStates: this.#members.size,
      histories: this.#ghosts.size,
      terms: [...new Set(this.#ghosts.items.flatMap((g) => g.leaders.map(([term]) => term)))].sort(),
      committed: Math.max(...this.#ghosts.items.map((g) => g.committed.length)),
      messages: this.#messages.size,
      violation,
    }
  }

  /** Lets member 1 win while nothing goes wrong, one step at a time. False when it has. */
  #prologue(at: number): boolean {
    this.#states.read(at, this.#row)
    const members = [0, 1, 2].map((i) => this.#members.at(this.#row[i] as number))
    const message = this.#nets.at(this.#row[NET] as number)[0]
    const writes = members.findIndex((m) => m.member.writing)
    if (message !== undefined) this.#deliver(at, message, 'deliver')
    else if (writes >= 0) this.#local(at, writes, 'persist')
    else if (!this.#bounds.led || members[0]?.view.leads) return false
    else this.#local(at, 0, 'tick')
    return true
  }

  #expand(at: number): void {
    const { campaigners, beats, proposals, crashes, reads } = this.#bounds
    for (let i = 0; i < SIZE; i++) {
      const { member, view } = this.#members.at(this.#row[i] as number)
      if (view.leads ? this.#may('beat', beats) : view.inLease || campaigners.includes(i + 1))
        this.#local(at, i, 'tick')
      if (member.writing) this.#local(at, i, 'persist')
      if (view.leads && this.#may('propose', proposals)) this.#local(at, i, 'propose')
      if (this.#may('read', reads)) this.#local(at, i, 'read')
      if (!this.#may('crash', crashes)) continue
      this.#local(at, i, 'crash')
      if (member.writing?.mustSync) this.#local(at, i, 'crash, write done')
    }
    this.#expandNetwork(at)
  }

  #expandNetwork(at: number): void {
    const { drops, duplicates } = this.#bounds
    for (const m of this.#nets.at(this.#row[NET] as number)) {
      this.#deliver(at, m, 'deliver')
      if (this.#may('duplicate', duplicates)) this.#deliver(at, m, 'duplicate')
      if (!this.#may('drop', drops)) continue
      this.#next.set(this.#row)
      this.#next[NET] = this.#without(this.#row[NET] as number, m)
      this.#spend('drop')
      this.#add(at, 0, 'drop', m)
    }
  }

  #local(at: number, i: number, kind: Kind): void {
    const move = this.#move(i, kind, 0)
    if (!move) return
    this.#next.set(this.#row)
    if (kind === 'propose' || kind === 'read') this.#spend(kind)
    else if (kind.startsWith('crash')) this.#spend('crash')
    else if (kind === 'tick' && this.#members.at(this.#row[i] as number).view.leads) this.#spend('beat')
    if (kind === 'read') this.#asked()
    this.#land(at, i, kind, 0, move)
  }

  #deliver(at: number, m: number, kind: 'deliver' | 'duplicate'): void {
    const i = this.#messages.at(m).to - 1
    const move = this.#move(i, 'deliver', m)
    if (!move) return
    this.#next.set(this.#row)
    if (kind === 'duplicate') this.#spend(kind)
    else this.#next[NET] = this.#without(this.#row[NET] as number, m)
    this.#land(at, i, kind, m, move)
  }

  /** The rest of a step: what the member sent is on its way, and the invariants still hold. */
  #land(at: number, i: number, kind: Kind, m: number, move: Move): void {
    this.#steps++
    const next = this.#next
    next[i] = move.to
    try {
      if (next[i] !== this.#row[i]) this.#check(i)
      for (const index of move.reads) checkRead(this.#ghosts.at(next[GHOST] as number), index)
    } catch (e) {
      throw e instanceof Violation ? new Violation(`${e.message}; last: ${this.#describe(i, kind, m)}`) : e
    }
    next[NET] = this.#with(next[NET] as number, move.messages)
    this.#add(at, i, kind, m)
  }

  #check(i: number): void {
    const ghost = this.#ghosts.at(this.#next[GHOST] as number)
    const known = [0, 1, 2].map((n) => this.#members.at(this.#next[n] as number).view)
    const mine = known[i] as View
    for (const other of known) {
      const pair = mine.logNumber * 0x1000000 + other.logNumber
      if (this.#pairs.has(pair)) continue
      checkLogs(mine.log, other.log)
      this.#pairs.add(pair)
    }
    const after = witness(ghost, known, i)
    if (after !== ghost) this.#next[GHOST] = this.#ghost(after)
  }

  #add(at: number, i: number, kind: Kind, m: number): void {
    this.#states.add(this.#next, at, this.#code(i, kind, m))
  }

  /** What an event does to a member, computed the first time it is asked for. */
  #move(i: number, kind: Kind, m: number): Move | undefined {
    const known = this.#members.at(this.#row[i] as number)
    const key = m * 16 + kinds.indexOf(kind)
    let move = known.moves.get(key)
    if (move === undefined && !known.moves.has(key)) {
      move = this.#compute(known, kind, m)
      known.moves.set(key, move)
    }
    if (typeof move === 'string') throw new Violation(`${move}; last: ${this.#describe(i, kind, m)}`)
    return move
  }

  #compute(known: Known, kind: Kind, m: number): Move | string | undefined {
    try {
      const done = happen(this.#core, known.member, eventOf(kind, this.#messages.items[m]))
      if (!done) return undefined
      const { maxTerm } = this.#bounds
      const { messages, reads } = done.out
      if (done.member.node.term > maxTerm || messages.some((x) => x.term > maxTerm)) return undefined
      const to = this.#number(done.member)
      if (!kind.startsWith('crash')) checkStep(known.view, this.#members.at(to).view)
      return { to, messages: messages.map((x) => this.#message(x)), reads: reads.map((r) => r.index) }
    } catch (e) {
      // The core's own invariants count as well.
      if (e instanceof Error) return e.message
      throw e
    }
  }

  // ---- numbering

  #number(member: Member): number {
    return this.#members.of(textOf(member), () => ({
      member,
      view: viewOf(member, (log) => this.#logs.of(log.join(), () => log)),
      moves: new Map(),
    }))
  }
  #message(m: Message): number {
    return this.#messages.of(textOf(m), () => freeze(m))
  }
  #net(ids: readonly number[]): number {
    return this.#nets.of(ids.join(), () => ids)
  }
  #ghost(g: Ghost): number {
    return this.#ghosts.of(JSON.stringify(g), () => g)
  }

  #without(net: number, m: number): number {
    return this.#net(this.#nets.at(net).filter((x) => x !== m))
  }

  /** Messages beyond the bound are lost, the newest first; networks may do that. So are those that nobody will heed. */
  #with(net: number, sent: readonly number[]): number {
    const ids = new Set(this.#nets.at(net).filter((m) => !this.#dead(m)))
    for (const m of sent) if (ids.size < this.#bounds.maxMessages && !this.#dead(m)) ids.add(m)
    return this.#net([...ids].sort((a, b) => a - b))
  }

  /** Ignored without an answer, now and ever: terms that are on disk never fall. */
  #dead(m: number): boolean {
    const { type, to, term } = this.#messages.at(m)
    if (!ignoredWhenOld.has(type)) return false
    return term < this.#members.at(this.#next[to - 1] as number).view.durableTerm
  }

  // ---- budgets and history

  #may(what: (typeof spendable)[number], most: number): boolean {
    return (((this.#row[SPENT] as number) >> shift(what)) & 15) < most
  }
  #spend(what: (typeof spendable)[number]): void {
    this.#next[SPENT] = (this.#next[SPENT] as number) + (1 << shift(what))
  }
  #asked(): void {
    const g = this.#ghosts.at(this.#next[GHOST] as number)
    this.#next[GHOST] = this.#ghost({ ...g, read: g.committed.length })
  }

  #code(i: number, kind: Kind, m: number): number {
    return (m * 16 + kinds.indexOf(kind)) * SIZE + i
  }
  #describe(i: number, kind: Kind, m: number): string {
    const message = this.#messages.items[m]
    if (kind === 'deliver' || kind === 'duplicate' || kind === 'drop')
      return `${kind} ${message ? this.#core.describeMessage(message) : '?'}`
    return `${i + 1}: ${kind}`
  }
  #path(n: number): string[] {
    const path: string[] = []
    for (let at = n; at > 0;) {
      const { from, by } = this.#states.origin(at)
      const key = Math.floor(by / SIZE)
      path.unshift(this.#describe(by % SIZE, kinds[key % 16] as Kind, Math.floor(key / 16)))
      at = from
    }
    return path
  }
  #depth(n: number): number {
    let depth = 0
    for (let at = n; at > 0; at = this.#states.origin(at).from) depth++
    return depth
  }
}

function eventOf(kind: Kind, message: Message | undefined): Event {
  if (kind === 'crash' || kind === 'crash, write done') return { type: 'crash', written: kind !== 'crash' }
  if (kind === 'deliver') return { type: 'deliver', message: message as Message }
  if (kind === 'duplicate' || kind === 'drop') throw new Error('these are deliveries, or none')
  return { type: kind }
}
