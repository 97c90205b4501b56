import { type Actor, type Event, ProblemError } from '../../contract/index.ts'
import { type RaftDriver, RaftError, type Status } from '../../raft/index.ts'
import type { Cluster, ClusterStatus, EventQuery, Peers } from './cluster.ts'
import type { Applied, Command, ResultOf } from './commands.ts'
import { nodeIdOf } from './rules/members.ts'
import { type ClusterStateMachine, encodeEntry, readAnswer } from './state-machine.ts'
import type { State } from './state.ts'

const proposeTimeoutMs = 10_000
const barrierTimeoutMs = 5_000

/** This agent's part of the cluster: raft below, the replicated state beside it, the other agents around it. */
export class Member implements Cluster {
  readonly self: { readonly node: string; readonly member: number }
  readonly peers: Peers
  readonly #raft: RaftDriver
  readonly #machine: ClusterStateMachine

  constructor(member: number, raft: RaftDriver, machine: ClusterStateMachine, peers: Peers) {
    this.self = { member, node: nodeIdOf(member) }
    this.#raft = raft
    this.#machine = machine
    this.peers = peers
  }

  state(): State {
    return this.#machine.state
  }

  async propose<C extends Command>(
    command: C,
    actor: Actor,
    options: { timeoutMs?: number } = {},
  ): Promise<ResultOf<C>> {
    const entry = encodeEntry({ v: 1, at: new Date().toISOString(), actor, command })
    const { result } = await this.#raft
      .propose(entry, { timeoutMs: options.timeoutMs ?? proposeTimeoutMs })
      .catch(throwProblem)
    return readAnswer(result) as ResultOf<C>
  }

  async barrier(): Promise<void> {
    await this.#raft.barrier({ timeoutMs: barrierTimeoutMs }).catch((error: unknown) => {
      // Nothing was changed by a read, so its end is never unknown.
      if (error instanceof RaftError && (error.code === 'timeout' || error.code === 'stopped'))
        throw new ProblemError('no_leader', 'no majority of the voters answered', {
          cause: error,
          hint: staleReadHint,
        })
      return throwProblem(error)
    })
  }

  onApplied(listener: (applied: Applied) => void): () => void {
    return this.#machine.onApplied(listener)
  }

  status(): ClusterStatus {
    return toStatus(this.#raft.status(), this.self.member)
  }

  onStatus(listener: (status: ClusterStatus) => void): () => void {
    return this.#raft.onChange((status) => listener(toStatus(status, this.self.member)))
  }

  async events({
    subject,
    after,
    limit,
    order,
  }: EventQuery): Promise<{ items: Event[]; next: string | null }> {
    const items = await this.#machine.events({
      limit: limit + 1,
      newest: order === 'newest',
      ...(subject ? { subject: subject.id } : {}),
      ...(after ? { after } : {}),
    })
    const page = items.slice(0, limit)
    return { items: page, next: items.length > limit ? (page.at(-1)?.id ?? null) : null }
  }
}

const staleReadHint = 'Ask for consistency=local to read this agent’s own copy, which may be old.'

function toStatus(status: Status, self: number): ClusterStatus {
  return {
    leader: status.leader ? nodeIdOf(status.leader) : null,
    isLeader: status.role === 'leader' && status.leader === self,
    term: status.term,
    commit: status.commit,
    applied: status.applied,
    voters: status.conf.voters,
    learners: status.conf.learners,
    leaving: status.conf.votersOutgoing,
  }
}

/** What the log refused, in the API's words. */
function throwProblem(error: unknown): never {
  if (!(error instanceof RaftError)) throw error
  switch (error.code) {
    case 'timeout':
    case 'stopped':
      throw new ProblemError('outcome_unknown', undefined, { cause: error })
    case 'busy':
      throw new ProblemError('busy', undefined, { cause: error })
    case 'too_large':
      throw new ProblemError('too_large', 'the change is too large for the log', { cause: error })
    default:
      throw new ProblemError('no_leader', undefined, { cause: error })
  }
}
