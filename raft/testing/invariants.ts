import type { TraceEvent } from '../core.ts'
import type { MemoryStore } from '../memory-store.ts'
import type { RaftNode } from '../node.ts'
import {
  assertInvariant,
  type ConfState,
  type Entry,
  type Index,
  type Message,
  type NodeId,
  type Term,
} from '../types.ts'

export interface Watched {
  readonly id: NodeId
  readonly store: MemoryStore
  /** Undefined while it is down. */
  readonly node: RaftNode | undefined
}

const textOf = (e: Entry): string => `${e.kind}:${Buffer.from(e.data).toString('hex')}`

/** What must hold in every run (thesis figure 3.2 and what follows from it). Each check looks only at what changed. */
export class Invariants {
  readonly #members: () => Iterable<Watched>
  readonly #leaders = new Map<Term, NodeId>()
  readonly #votes = new Map<string, NodeId>()
  readonly #entries = new Map<string, { text: string; prevTerm: Term }>()
  readonly #committed: { term: Term; text: string | undefined }[] = []
  readonly #commitOf = new Map<NodeId, Index>()
  readonly #termOf = new Map<NodeId, Term>()
  /** The largest index committed anywhere. */
  committed: Index = 0

  constructor(members: () => Iterable<Watched>) {
    this.#members = members
  }

  /** A restart may forget the commit index, never the term. */
  restarted(id: NodeId, term: Term, applied: Index): void {
    assertInvariant(term >= 0, 'term')
    this.#commitOf.set(id, applied)
  }

  onTrace(e: TraceEvent, conf: ConfState, leading: boolean): void {
    const last = this.#termOf.get(e.id) ?? 0
    assertInvariant(e.term >= last, () => `the term of ${e.id} went back from ${last} to ${e.term}`)
    if (e.event === 'role' && e.role === 'leader') this.#elected(e.id, e.term)
    if (e.event === 'commit') this.#commits(e.id, e.commit, e.term, conf, leading)
  }

  /** The durable term never goes back; a crash may undo only what was not durable. */
  onPersisted(id: NodeId, term: Term): void {
    this.#termOf.set(id, Math.max(this.#termOf.get(id) ?? 0, term))
  }

  /** Election safety, and leader completeness. */
  #elected(id: NodeId, term: Term): void {
    const other = this.#leaders.get(term)
    assertInvariant(other === undefined, () => `two leaders in term ${term}: ${other} and ${id}`)
    this.#leaders.set(term, id)
    for (const m of this.#members()) {
      if (m.id !== id) continue
      const c = this.#committed[this.committed]
      // Votes may arrive when a later term has long committed something else.
      if (!c || c.term > term) return
      const last = m.store.lastIndex()
      const have = m.store.term(this.committed)
      assertInvariant(
        last >= this.committed && (have === c.term || m.store.firstIndex() > this.committed),
        () => `leader ${id} of term ${term} lacks the committed entry ${this.committed}`,
      )
    }
  }

  /** At most one vote per term, over restarts. */
  onSend(m: Message): void {
    if (m.type !== 'voteReply' || !m.granted) return
    const key = `${m.from}/${m.term}`
    const before = this.#votes.get(key)
    assertInvariant(before === undefined || before === m.to, () => `${m.from} voted twice in term ${m.term}`)
    this.#votes.set(key, m.to)
  }

  /** Log matching: index and term determine an entry and, by induction, everything before it. */
  onStored(id: NodeId, entries: readonly Entry[], store: MemoryStore): void {
    for (const e of entries) {
      const prevTerm = store.term(e.index - 1) ?? 0
      const key = `${e.index}/${e.term}`
      const known = this.#entries.get(key)
      if (!known) this.#entries.set(key, { text: textOf(e), prevTerm })
      else
        assertInvariant(
          known.text === textOf(e) && known.prevTerm === prevTerm,
          () => `logs do not match at ${key} on ${id}`,
        )
    }
  }

  /** State machine safety: everybody applies the same at an index. */
  onApplied(id: NodeId, entries: readonly Entry[]): void {
    for (const e of entries) {
      const known = this.#committed[e.index]
      if (known) {
        assertInvariant(
          known.term === e.term,
          () => `${id} applies ${e.term}/${e.index}, others ${known.term}`,
        )
        assertInvariant(
          known.text === undefined || known.text === textOf(e),
          () => `${id} applies something else at ${e.index}`,
        )
        known.text = textOf(e)
      } else this.#committed[e.index] = { term: e.term, text: textOf(e) }
    }
  }

  /** Commit indexes only grow, and what is newly committed is durable on a quorum. */
  #commits(id: NodeId, commit: Index, term: Term, conf: ConfState, leading: boolean): void {
    const before = this.#commitOf.get(id) ?? 0
    assertInvariant(commit >= before, () => `the commit index of ${id} went back from ${before} to ${commit}`)
    this.#commitOf.set(id, commit)
    if (commit <= this.committed) return
    assertInvariant(leading, () => `${id} thinks that ${commit} is committed, no leader ever committed it`)
    // A leader commits by count in its own term only.
    for (const half of [conf.voters, conf.votersOutgoing]) this.#onQuorum(half, commit, term)
    this.#committed[commit] ??= { term, text: undefined }
    this.committed = commit
  }

  #onQuorum(voters: readonly NodeId[], index: Index, term: Term): void {
    if (voters.length === 0) return
    let have = 0
    for (const m of this.#members()) {
      if (!voters.includes(m.id)) continue
      if (m.store.term(index) === term || m.store.firstIndex() > index) have++
    }
    assertInvariant(
      have > voters.length / 2,
      () => `entry ${term}/${index} committed with ${have} of ${voters.length} copies`,
    )
  }
}
