import { isVoter } from './confchange.ts'
import type { Env } from './env.ts'
import type { Proposed } from './leader.ts'
import type { Status } from './node.ts'
import { RaftError, type ConfChange, type ConfState, type Entry, type Index } from './types.ts'

interface Waiter {
  readonly propose: () => Proposed
  readonly resolve: (c: ConfState) => void
  readonly reject: (e: Error) => void
  cancelTimer: () => void
  /** Undefined while the proposal waits for an earlier change. */
  at: Proposed | undefined
  applied: boolean
}

/** Membership changes of this process, from proposal to the configuration that results. */
export class ConfWaiters {
  readonly #env: Env
  readonly #waiters = new Set<Waiter>()

  constructor(env: Env) {
    this.#env = env
  }

  propose(propose: () => Proposed, timeoutMs: number): Promise<ConfState> {
    return new Promise((resolve, reject) => {
      const w: Waiter = { propose, resolve, reject, cancelTimer: () => {}, at: undefined, applied: false }
      w.cancelTimer = this.#env.after(timeoutMs, () =>
        this.#fail(
          w,
          w.at
            ? new RaftError('timeout', 'not applied in time; the change may or may not take effect')
            : new RaftError('conf_pending', 'an earlier change was not applied in time'),
        ),
      )
      this.#waiters.add(w)
      this.#try(w)
    })
  }

  retry(): void {
    for (const w of this.#waiters) if (!w.at) this.#try(w)
  }

  onEntry(e: Entry, conf: ConfState, joint: boolean): void {
    for (const w of this.#waiters) {
      if (!w.at || e.index < w.at.index) continue
      if (!w.applied && (e.index !== w.at.index || e.term !== w.at.term)) {
        this.#fail(
          w,
          new RaftError('dropped', 'another leader put something else in its place; nothing changed'),
        )
      } else {
        w.applied = true
        if (!joint && this.#end(w)) w.resolve(conf)
      }
    }
  }

  onRestored(index: Index): void {
    for (const w of this.#waiters)
      if (w.at && w.at.index <= index)
        this.#fail(w, new RaftError('timeout', 'overtaken by a snapshot; look at the members'))
  }

  onLeadershipLost(): void {
    for (const w of this.#waiters)
      if (!w.at)
        this.#fail(w, new RaftError('not_leader', 'leadership was lost before the change was proposed'))
  }

  stop(error: Error): void {
    for (const w of this.#waiters) this.#fail(w, error)
  }

  #try(w: Waiter): void {
    try {
      w.at = w.propose()
    } catch (e) {
      if (e instanceof RaftError && e.code === 'conf_pending') return
      this.#fail(w, e instanceof Error ? e : new Error(String(e)))
    }
  }

  #fail(w: Waiter, e: Error): void {
    if (this.#end(w)) w.reject(e)
  }

  #end(w: Waiter): boolean {
    w.cancelTimer()
    return this.#waiters.delete(w)
  }
}

/**
 * Stricter than the algorithm: a voter must have been a learner that has caught up. A voter that is far behind, or not
 * there at all, would lower what the cluster survives, down to nothing when it is the second one.
 */
export function checkChange(change: ConfChange, s: Status, maxLag: number): void {
  if (s.role !== 'leader') throw new RaftError('not_leader', 'only the leader can change members')
  if (change.changes.length === 0) throw new RaftError('conf_invalid', 'an empty change')
  for (const { type, id } of change.changes) {
    if (type !== 'voter' || isVoter(s.conf, id)) continue
    const p = s.progress.get(id)
    if (!p) throw new RaftError('not_ready', `member ${id} must join as a learner first`)
    if (!p.recentActive || p.state !== 'replicate' || s.commit - p.match > maxLag)
      throw new RaftError('not_ready', `learner ${id} has not caught up: it has ${p.match} of ${s.commit}`)
  }
}
