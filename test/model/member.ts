import type { Ready, RaftNode } from '../../raft/node.ts'
import type { Entry, HardState, LogView, Message, NodeId, SnapshotMeta, Term } from '../../raft/types.ts'
import { copy, freeze } from './graph.ts'
import type { Core } from './load.ts'

/** The founders' empty snapshot: index 1 of term 1. */
export const BASE = 1
const VOTERS = [1, 2, 3]
export const ELECTION_TICKS = 2

/** What one member holds: the core, what its log view shows, what a crash would leave, and the write under way. */
export interface Member {
  readonly node: RaftNode
  readonly view: Disk
  readonly durable: Disk
  readonly slow: boolean
  writing: Ready | undefined
}

/** Something that happens to one member. */
export type Event =
  | { readonly type: 'deliver'; readonly message: Message }
  | { readonly type: 'tick' | 'persist' | 'propose' | 'read' }
  | { readonly type: 'crash'; readonly written: boolean }

/** What leaves a member while it takes one event. */
export interface Output {
  readonly messages: Message[]
  readonly reads: { readonly id: string; readonly index: number }[]
}

export class Disk implements LogView {
  hard: HardState
  log: readonly Entry[]

  constructor(hard: HardState, log: readonly Entry[]) {
    this.hard = hard
    this.log = log
  }
  initial(): ReturnType<LogView['initial']> {
    return { hard: this.hard, conf: META.conf, index: BASE }
  }
  firstIndex(): number {
    return BASE + 1
  }
  lastIndex(): number {
    return BASE + this.log.length
  }
  term(index: number): Term | undefined {
    return index === BASE ? 1 : this.log[index - BASE - 1]?.term
  }
  entries(lo: number, hi: number): readonly Entry[] {
    return this.log.slice(lo - BASE - 1, hi - BASE - 1)
  }
  snapshot(): SnapshotMeta {
    return META
  }
  write({ entries, hard }: Pick<Ready, 'entries' | 'hard'>): void {
    const first = entries[0]
    if (first) this.log = freeze([...this.log.slice(0, first.index - BASE - 1), ...entries])
    if (hard) this.hard = freeze({ ...hard })
  }
}

const META: SnapshotMeta = freeze({
  index: BASE,
  term: 1,
  conf: { voters: VOTERS, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  bytes: 0,
  crc32c: 0,
})

/** A member as it is founded. One that is not `slow` has a disk that writes at once. */
export function founder(core: Core, id: NodeId, slow: boolean): Member {
  return start(core, id, slow, new Disk({ term: 1, vote: 0, commit: BASE }, []))
}

function start(core: Core, id: NodeId, slow: boolean, durable: Disk): Member {
  const view = copy(durable)
  const config = freeze({ ...core.defaultRaftConfig, id, applied: BASE, electionTicks: ELECTION_TICKS })
  // The longest timeout, so that a member can be out of the leader's lease without campaigning.
  const node = new core.RaftNode(config, view, () => 0.999)
  return { node, view, durable, slow, writing: undefined }
}

/** The member afterwards, and what it sent; undefined if the event changes nothing and cannot happen. */
export function happen(
  core: Core,
  before: Member,
  event: Event,
): { member: Member; out: Output } | undefined {
  const out: Output = { messages: [], reads: [] }
  if (event.type === 'crash') return { member: crash(core, before, event.written), out }
  const member = copy(before)
  if (!take(member, event, out)) return undefined
  settle(member, out)
  return { member, out }
}

function take(m: Member, event: Exclude<Event, { type: 'crash' }>, out: Output): boolean {
  switch (event.type) {
    case 'deliver':
      m.node.step(event.message)
      return true
    case 'tick':
      tick(m.node)
      return true
    case 'propose':
      // With its author in it, an entry of two leaders of one term would differ.
      return typeof m.node.propose(Uint8Array.of(m.node.id)) === 'object'
    case 'read':
      return m.node.readIndex('r')
    case 'persist':
      if (!m.writing) return false
      finishWrite(m, out)
      return true
  }
}

/** A leader's heartbeat; a follower's end of lease, then its campaign. */
function tick(node: RaftNode): void {
  if (node.role === 'leader') node.tick()
  else for (let i = 0; i < ELECTION_TICKS && !node.hasReady(); i++) node.tick()
}

function finishWrite(m: Member, out: Output): void {
  const ready = m.writing as Ready
  m.writing = undefined
  m.view.write(ready)
  if (ready.mustSync) m.durable.write({ entries: [], hard: m.view.hard })
  if (ready.mustSync) m.durable.log = m.view.log
  m.node.persisted(ready)
  for (const message of ready.afterSync) if (message.to !== m.node.id) out.messages.push(message)
}

/** All that a driver does at once: sends, applies, starts the next write; one that needs no disk is over at once. */
function settle(m: Member, out: Output): void {
  while (m.node.hasReady(!m.writing)) {
    const ready = m.node.ready(!m.writing)
    out.messages.push(...ready.messages)
    out.reads.push(...ready.reads)
    const last = ready.committed.at(-1)
    if (last) m.node.applied(last.index)
    if (!ready.persist) continue
    m.writing = ready
    if (!ready.mustSync || !m.slow) finishWrite(m, out)
  }
}

/** Whatever was not synced is gone, except that the write under way may have made it. */
function crash(core: Core, { node, durable, slow, writing }: Member, written: boolean): Member {
  const left = copy(durable)
  if (written && writing) left.write(writing)
  return start(core, node.id, slow, left)
}
