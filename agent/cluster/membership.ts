import type { RaftDriver } from '../../raft/index.ts'
import type { Cluster } from './cluster.ts'
import { nodeIdOf } from './rules/members.ts'
import { Silence } from './silence.ts'
import { type Candidate, nextStep, type Step } from './voters.ts'

/** How far a learner may be behind the leader's log to be promoted, entries. */
const nearlyAll = 100
const lookEveryMs = 500

interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface MembershipOptions {
  readonly cluster: Cluster
  readonly raft: RaftDriver
  /** Gives a learner the cluster key; it must have it on disk before it may become a voter. */
  readonly handOverKey: (node: string) => Promise<void>
  readonly log: Log
  /** Silence after which a voter is replaced, ms. */
  readonly replaceAfterMs?: number
  /** Milliseconds on a clock that never jumps. */
  readonly clock?: () => number
}

/** On the leader: makes raft's membership follow the nodes of the cluster, one change at a time. */
export class Membership {
  readonly #options: MembershipOptions
  readonly #silence: Silence
  readonly #timer: NodeJS.Timeout
  #busy = false
  /** Settled when what keeps it busy has ended. */
  #step: Promise<void> = Promise.resolve()
  #refusal = ''

  constructor(options: MembershipOptions) {
    this.#options = options
    const { replaceAfterMs = 10 * 60_000, clock = () => performance.now() } = options
    this.#silence = new Silence(clock, { lostMs: replaceAfterMs, lookEveryMs })
    this.#timer = setInterval(() => void this.#look(), lookEveryMs)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** While no voter is made or leaves. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    while (this.#busy) await this.#step
    this.#busy = true
    const done = work()
    this.#step = done.then(
      () => undefined,
      () => undefined,
    )
    try {
      return await done
    } finally {
      this.#busy = false
    }
  }

  async #look(): Promise<void> {
    const status = this.#options.raft.status()
    if (status.role !== 'leader') return this.#silence.forget()
    this.#silence.look(status.progress)
    if (!this.#busy) await this.alone(() => this.#stepOn(status))
  }

  async #stepOn({ conf, id }: ReturnType<RaftDriver['status']>): Promise<void> {
    try {
      const step = nextStep(this.#candidates(), conf, id)
      if (step) await this.#take(step)
      this.#refusal = ''
    } catch (error) {
      // A learner is away, or leadership was lost: looked at again in a moment, and said once.
      const refusal = String(error)
      if (refusal !== this.#refusal) this.#options.log.warn({ err: error }, 'membership change was not made')
      this.#refusal = refusal
    }
  }

  #candidates(): Candidate[] {
    const { cluster, raft } = this.#options
    const { progress, commit } = raft.status()
    return [...cluster.state().nodes.values()].map(({ member, cordon }) => {
      const peer = progress.get(member)
      const ready = !!peer?.recentActive && peer.match + nearlyAll >= commit
      return { member, ready, lost: this.#silence.isLost(member), leaving: cordon?.drain?.power_off ?? false }
    })
  }

  async #take(step: Step): Promise<void> {
    const { raft, log, handOverKey } = this.#options
    if ('handTo' in step) {
      log.info(
        { to: nodeIdOf(step.handTo) },
        'this host was removed or is to be switched off: leadership is handed over',
      )
      return raft.transferLeadership(step.handTo)
    }
    const { changes } = step.change
    for (const { type, id } of changes) if (type === 'voter') await handOverKey(nodeIdOf(id))
    const conf = await raft.changeMembers(step.change)
    log.info({ changes, voters: conf.voters, learners: conf.learners }, 'membership changed')
  }
}
