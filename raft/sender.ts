import type { Member } from './member.ts'
import type { Snapshots } from './snapshots.ts'
import type { AppendMessage, Index, Message, NodeId } from './types.ts'

/** How long a follower may not know what is committed, when nothing else tells it. */
const HOLD_MS = 5

/** What a follower is told, and waits for. */
interface Follower {
  /** The highest commit index that left for it in an append. */
  told: Index
  /** Its own client waits for this entry: it must learn of its commit at once. */
  wanted: Index
  /** Says nothing but a commit index. */
  held: AppendMessage | undefined
}

/**
 * Messages on their way out. One that carries only a commit index waits a moment: mostly the next entries follow at
 * once and say it too, which halves the messages of a client that writes one thing after another.
 */
export class Sender {
  readonly #m: Member
  readonly #snapshots: Snapshots
  readonly #followers = new Map<NodeId, Follower>()
  #stopTimer: (() => void) | undefined

  constructor(m: Member, snapshots: Snapshots) {
    this.#m = m
    this.#snapshots = snapshots
  }

  send(messages: readonly Message[]): void {
    if (messages.length === 0) return
    const now: Message[] = []
    for (const m of messages) {
      if (m.to === this.#m.o.id) continue
      if (m.type === 'snapshot') this.#snapshots.send(m)
      else if (m.type === 'append') this.#append(m, now)
      else {
        // Whoever may read up to an index must hear that it is committed.
        if (m.type === 'readIndexReply') this.#release(this.#follower(m.to), now)
        now.push(m)
      }
    }
    this.#leave(now)
  }

  /** An entry was appended for a client of this follower. */
  awaits(id: NodeId, index: Index): void {
    this.#follower(id).wanted = index
  }

  /** Nothing is held any more. */
  release(): void {
    this.#stopTimer?.()
    this.#stopTimer = undefined
    const now: Message[] = []
    for (const f of this.#followers.values()) this.#release(f, now)
    this.#leave(now)
  }

  #append(m: AppendMessage, now: Message[]): void {
    const f = this.#follower(m.to)
    // This one says what the held one did: the core never sends a smaller commit index later.
    f.held = undefined
    if (m.entries.length === 0 && f.wanted <= f.told) {
      f.held = m
      this.#stopTimer ??= this.#m.env.after(HOLD_MS, () => this.release())
    } else {
      f.told = m.commit
      now.push(m)
    }
  }

  #release(f: Follower, now: Message[]): void {
    if (!f.held) return
    f.told = f.held.commit
    now.push(f.held)
    f.held = undefined
  }

  #leave(now: readonly Message[]): void {
    if (now.length === 0 || this.#m.failed) return
    this.#m.metrics.messagesOut += now.length
    this.#m.o.transport.send(now)
  }

  #follower(id: NodeId): Follower {
    let f = this.#followers.get(id)
    if (!f) this.#followers.set(id, (f = { told: 0, wanted: 0, held: undefined }))
    return f
  }
}
