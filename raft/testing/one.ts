import { decodeConfChange } from '../codec.ts'
import { MemoryStore } from '../memory-store.ts'
import { RaftNode, type Ready } from '../node.ts'
import {
  EMPTY_CONF,
  defaultRaftConfig,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type NodeId,
  type RaftConfig,
  type Term,
} from '../types.ts'

export const TICKS = 10
const BASE = 1

export interface OneOptions {
  readonly id?: NodeId
  readonly conf?: Partial<ConfState>
  /** Terms of the stored entries, from index 2 on: the founders' empty snapshot is index 1 in term 1. */
  readonly terms?: readonly Term[]
  readonly hard?: Partial<HardState>
  readonly config?: Partial<RaftConfig>
  readonly rng?: () => number
  /** Instead of conf, terms and hard state. */
  readonly store?: MemoryStore
}

/** One core with a disk that always works, driven by hand. */
export class One {
  readonly store: MemoryStore
  readonly node: RaftNode
  readonly applied: Entry[] = []
  readonly reads: { id: string; index: number }[] = []

  constructor(o: OneOptions = {}) {
    this.store = o.store ?? stored(o)
    const config = { ...defaultRaftConfig, id: o.id ?? 1, applied: BASE, electionTicks: TICKS, ...o.config }
    this.node = new RaftNode(config, this.store, o.rng ?? (() => 0))
  }

  /** Persists, applies, and returns everything that was sent. */
  drain(): Message[] {
    const out: Message[] = []
    while (this.node.hasReady()) {
      const ready = this.node.ready()
      out.push(...ready.messages)
      this.persist(ready)
      out.push(...ready.afterSync.filter((m) => m.to !== this.node.id))
      this.apply(ready)
    }
    return out
  }

  persist(ready: Ready): void {
    if (!ready.persist) return
    if (ready.snapshot) this.store.installNow(ready.snapshot, Buffer.from('x'), undefined)
    this.store.appendNow(ready.entries, ready.hard, ready.mustSync)
    this.node.persisted(ready)
  }

  apply(ready: Ready): void {
    this.reads.push(...ready.reads)
    this.applied.push(...ready.committed)
    for (const e of ready.committed) if (e.kind === 'config') this.node.applyConf(decodeConfChange(e.data))
    const last = ready.committed.at(-1)
    if (last) this.node.applied(last.index)
  }

  step(m: Partial<Message> & Pick<Message, 'type' | 'from'>): Message[] {
    this.node.step({ ...blank, to: this.node.id, term: this.node.term, ...m } as Message)
    return this.drain()
  }

  tick(n = 1): Message[] {
    const out: Message[] = []
    for (let i = 0; i < n; i++) {
      this.node.tick()
      out.push(...this.drain())
    }
    return out
  }

  /** Wins an election with these voters' help. */
  lead(...helpers: NodeId[]): Message[] {
    this.node.campaign()
    this.drain()
    const term = this.node.term + 1
    for (const from of helpers) this.step({ type: 'preVoteReply', from, term, granted: true })
    const out: Message[] = []
    for (const from of helpers) out.push(...this.step({ type: 'voteReply', from, term, granted: true }))
    if (this.node.role !== 'leader') throw new Error('the election was not won')
    return out
  }

  terms(): Term[] {
    return this.store
      .entries(this.store.firstIndex(), this.store.lastIndex() + 1, Infinity)
      .map((e) => e.term)
  }
}

function stored(o: OneOptions): MemoryStore {
  const store = new MemoryStore({ ...EMPTY_CONF, voters: [1, 2, 3], ...o.conf })
  const entries = (o.terms ?? []).map((term, i) => entry(BASE + 1 + i, term))
  const hard = { term: Math.max(BASE, ...(o.terms ?? [])), vote: 0, commit: BASE, ...o.hard }
  store.appendNow(entries, hard, true)
  return store
}

export function entry(index: number, term: Term, data = ''): Entry {
  return { index, term, kind: 'normal', data: Buffer.from(data) }
}

const blank = {
  commit: 0,
  commitTerm: 0,
  lastIndex: 0,
  lastTerm: 0,
  transfer: false,
  granted: false,
  prevIndex: 0,
  prevTerm: 0,
  entries: [],
  index: 0,
  rejected: false,
  hintIndex: 0,
  hintTerm: 0,
  read: 0,
}
