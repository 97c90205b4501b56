import { decodeHard, type HardRecord } from '../../raft/records.ts'
import { Reader } from '../../raft/bytes.ts'
import type { TraceEvent } from '../../raft/core.ts'
import type { Applied } from '../../raft/driver-api.ts'
import type { LogStore } from '../../raft/store.ts'
import type { ConfState, Entry, Index, Message, NodeId, Role, Term } from '../../raft/types.ts'
import type { SimDisk } from './disk.ts'
import type { World } from './world.ts'

export interface Watched {
  readonly id: NodeId
  readonly disk: SimDisk
  /** Of the last life, when there is none now. */
  readonly store: LogStore | undefined
  /** As the running process sees it. */
  readonly conf: ConfState | undefined
}

interface Known {
  readonly term: Term
  readonly prevTerm: Term
  readonly kind: Entry['kind']
  readonly data: Uint8Array
}

const key = (index: Index, term: Term): number => index * 2 ** 20 + term

/** What must hold in every run (thesis figure 3.2 and what follows from it). Each check looks only at what changed. */
export class Invariants {
  readonly #world: World
  readonly #members: ReadonlyMap<NodeId, Watched>
  readonly #leaders = new Map<Term, NodeId>()
  readonly #votes = new Map<string, NodeId>()
  readonly #entries = new Map<number, Known>()
  readonly #committed: Known[] = []
  /** The term of the leader that committed it, which may be later than its own. */
  readonly #committedIn: Term[] = []
  readonly #puts = new Map<string, Index>()
  readonly #digests: number[] = []
  readonly #roleOf = new Map<NodeId, { role: Role; term: Term; joint: boolean }>()
  readonly #commitOf = new Map<NodeId, Index>()
  readonly #termOf = new Map<NodeId, Term>()
  readonly #appliedOf = new Map<NodeId, Index>()
  /** The largest index committed anywhere. */
  committed: Index

  constructor(world: World, members: ReadonlyMap<NodeId, Watched>, founded: Index) {
    this.#world = world
    this.#members = members
    this.committed = founded
  }

  /** Whether these would still know the last change of the members after a power cut. */
  knowMembers(ids: readonly NodeId[]): boolean {
    const last = this.#committed.findLastIndex((e) => e?.kind === 'config')
    return ids.every((id) => (this.#durable(id)?.commit ?? 0) >= last)
  }

  /** A restart may forget the commit index and what was applied, never what it promised. */
  opened(id: NodeId, store: LogStore, applied: Index): void {
    const { term } = store.initial().hard
    const floor = this.#durable(id)
    this.#world.check(
      floor === undefined || term >= floor.term,
      () => `${id} starts in term ${term}, its disk says ${floor?.term}`,
    )
    this.#commitOf.set(id, 0)
    this.#termOf.set(id, term)
    this.#appliedOf.set(id, applied)
  }

  onTrace(e: TraceEvent): void {
    const last = this.#termOf.get(e.id) ?? 0
    this.#world.check(e.term >= last, () => `the term of ${e.id} went back from ${last} to ${e.term}`)
    this.#termOf.set(e.id, e.term)
    if (e.event === 'role' || e.event === 'conf') this.#sometimes(e)
    if (e.event === 'role' && e.role === 'leader') this.#elected(e.id, e.term)
    if (e.event === 'commit') this.#commits(e.id, e.commit, e.term)
  }

  #sometimes(e: TraceEvent): void {
    const joint = (this.#members.get(e.id)?.conf?.votersOutgoing.length ?? 0) > 0
    const before = this.#roleOf.get(e.id)
    if (e.event === 'role') {
      if (e.role === 'follower' && before?.role === 'leader' && before.term === e.term)
        this.#world.count('some leader stepped down')
      if (e.role === 'follower' && before?.role === 'preCandidate' && before.term === e.term)
        this.#world.count('some pre-vote lost')
      this.#roleOf.set(e.id, { role: e.role, term: e.term, joint })
    } else if (e.event === 'conf' && before?.role === 'leader' && before.joint) {
      if (e.conf.votersOutgoing.length > 0) return
      this.#world.count('some joint configuration left by a new leader')
      before.joint = false
    }
  }

  /** Election safety, and leader completeness. */
  #elected(id: NodeId, term: Term): void {
    const other = this.#leaders.get(term)
    this.#world.check(other === undefined, () => `two leaders in term ${term}: ${other} and ${id}`)
    this.#leaders.set(term, id)
    this.#world.count('elections')
    const store = this.#members.get(id)?.store
    if (!store) return
    // A late vote can still elect the leader of an older term, which need not have what a newer one committed.
    let newest = this.committed
    while ((this.#committedIn[newest] ?? 0) >= term) newest--
    const known = this.#committed[newest]
    this.#world.check(
      known === undefined || store.firstIndex() > newest || store.term(newest) === known.term,
      () => `leader ${id} of term ${term} lacks the committed entry ${newest}`,
    )
  }

  /** What leaves must be kept: one vote per term over restarts, and nothing is promised that is not on the disk. */
  onSend(m: Message): void {
    if (m.type === 'voteReply' && m.granted) this.#votedFor(m.from, m.term, m.to)
    else if (m.type === 'vote') this.#votedFor(m.from, m.term, m.from)
    else if (m.type === 'appendReply' && !m.rejected && m.index > 0) {
      const hard = this.#durable(m.from)
      this.#world.check(
        // Of an older term it may be gone again, replaced by a newer leader's: who voted for that one knew of it.
        hard !== undefined && (hard.term > m.term || (hard.term === m.term && hard.lastIndex >= m.index)),
        () =>
          `${m.from} says it has ${m.index} in term ${m.term}, its disk has ${hard?.lastIndex} and ${hard?.term}`,
      )
    }
  }

  #votedFor(voter: NodeId, term: Term, candidate: NodeId): void {
    const vote = `${voter}/${term}`
    const before = this.#votes.get(vote)
    this.#world.check(
      before === undefined || before === candidate,
      () => `${voter} voted twice in term ${term}`,
    )
    this.#votes.set(vote, candidate)
    const hard = this.#durable(voter)
    this.#world.check(
      hard !== undefined && (hard.term > term || (hard.term === term && hard.vote === candidate)),
      () =>
        `${voter} votes for ${candidate} in term ${term}, its disk says ${hard?.vote} in term ${hard?.term}`,
    )
  }

  #durable(id: NodeId): HardRecord | undefined {
    const value = this.#members.get(id)?.disk.databases.get('log')?.durable.get('hard')
    return value && decodeHard(new Reader(value.subarray(4)))
  }

  /** Log matching: index and term determine an entry and, by induction, everything before it. */
  onStored(id: NodeId, entries: readonly Entry[], store: LogStore): void {
    const first = entries[0]
    if (first && store.lastIndex() >= first.index && store.term(first.index) !== first.term)
      this.#world.count('some log tail replaced')
    let prevTerm = entries[0] ? store.term(entries[0].index - 1) : 0
    for (const e of entries) {
      const at = key(e.index, e.term)
      const known = this.#entries.get(at)
      if (!known)
        this.#entries.set(at, {
          term: e.term,
          prevTerm: prevTerm ?? 0,
          kind: e.kind,
          data: Buffer.from(e.data),
        })
      else
        this.#world.check(
          known.prevTerm === prevTerm && known.kind === e.kind && Buffer.compare(known.data, e.data) === 0,
          () => `logs do not match at ${e.index} of term ${e.term} on ${id}`,
        )
      prevTerm = e.term
    }
  }

  /** State machine safety: what is applied is what was committed there, in order, once. */
  onApplied(id: NodeId, e: Applied, digest: number): void {
    const before = this.#appliedOf.get(id) ?? 0
    this.#world.check(e.index > before, () => `${id} applies ${e.index} after ${before}`)
    this.#appliedOf.set(id, e.index)
    const known = this.#committed[e.index]
    this.#world.check(
      known !== undefined && known.term === e.term && holds(known, e.data),
      () => `${id} applies ${e.term}/${e.index}, which is not what was committed there`,
    )
    this.#ranOnce(e)
    const others = this.#digests[e.index]
    this.#world.check(
      others === undefined || others === digest,
      () => `after ${e.index} the state of ${id} differs from the others'`,
    )
    this.#digests[e.index] = digest
  }

  /** Each value is put once, and no client asks for it again: whoever repeats it is the driver, and it runs once. */
  #ranOnce(e: Applied): void {
    const command = Buffer.from(e.data).toString()
    if (!command.startsWith('["put"')) return
    const at = this.#puts.get(command) ?? e.index
    this.#puts.set(command, at)
    this.#world.check(at === e.index, () => `${command} ran at ${at} and again at ${e.index}`)
  }

  /** A client was told so. */
  acknowledged(index: Index, command: Uint8Array): void {
    const known = this.#committed[index]
    this.#world.check(
      known !== undefined && holds(known, command),
      () => `acknowledged as ${index}, which is not what was committed there`,
    )
  }

  /** Commit indexes only grow, everybody commits the same, and only leaders begin it. */
  #commits(id: NodeId, commit: Index, term: Term): void {
    const before = this.#commitOf.get(id) ?? 0
    this.#world.check(
      commit >= before,
      () => `the commit index of ${id} went back from ${before} to ${commit}`,
    )
    this.#commitOf.set(id, commit)
    if (commit > this.committed) {
      this.#world.check(
        this.#leaders.get(term) === id,
        () => `${id} thinks that ${commit} is committed, no leader ever committed it`,
      )
      this.#leaderCommits(id, commit, term)
    }
  }

  /** By count a leader commits entries of its own term only; those before come along. */
  #leaderCommits(id: NodeId, commit: Index, term: Term): void {
    const conf = this.#members.get(id)?.conf
    if (conf) for (const half of [conf.voters, conf.votersOutgoing]) this.#onQuorum(half, commit, term)
    let at = term
    for (let i = commit; i > 1; i--) {
      const known = this.#entries.get(key(i, at))
      this.#world.check(known !== undefined, () => `committed entry ${at}/${i} was never stored`)
      if (!known) return
      const settled = this.#committed[i]
      if (settled) {
        this.#world.check(
          settled.term === at,
          () => `entry ${i} was committed as ${settled.term}, now as ${at}`,
        )
        break
      }
      this.#committed[i] = known
      this.#committedIn[i] = term
      at = known.prevTerm
    }
    this.committed = commit
  }

  #onQuorum(voters: readonly NodeId[], index: Index, term: Term): void {
    if (voters.length === 0) return
    let have = 0
    for (const id of voters) {
      const store = this.#members.get(id)?.store
      if (store && (store.term(index) === term || store.firstIndex() > index)) have++
    }
    this.#world.check(
      have > voters.length / 2,
      () => `entry ${term}/${index} committed with ${have} of ${voters.length} copies`,
    )
  }
}

/** The command stands at the end of its entry, behind the session's header. */
function holds(known: Known, command: Uint8Array): boolean {
  const start = known.data.length - command.length
  return start >= 0 && Buffer.compare(known.data.subarray(start), command) === 0
}
