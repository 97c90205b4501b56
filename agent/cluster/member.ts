import {
  type Actor,
  type AuditRecord,
  type Event,
  formatDuration,
  ProblemError,
} from '../../contract/index.ts'
import { setTimeout as pause } from 'node:timers/promises'
import { NONE, type RaftDriver, RaftError, type Status } from '../../raft/index.ts'
import type { Cluster, ClusterStatus, EventQuery, Peers } from './cluster.ts'
import { actorInLog, originOf } from './audit/origin.ts'
import type { AuditPage, AuditRead } from './audit/read.ts'
import type { Applied, Command, ResultOf } from './commands.ts'
import { Freshness } from './freshness.ts'
import { nodeIdOf } from './rules/members.ts'
import { type ClusterStateMachine, encodeEntry, readAnswer } from './state-machine.ts'
import type { State } from './state.ts'

const proposeTimeoutMs = 10_000
const barrierTimeoutMs = 5_000
/** An election is over sooner; where none succeeds for so long, waiting helps nobody. */
const electionMs = 3_000
/** A leader that comes just in time still needs some to answer. */
const proposeWithoutLeaderMs = 5_000

/** This agent's part of the cluster: raft below, the replicated state beside it, the other agents around it. */
export class Member implements Cluster {
  readonly self: { readonly node: string; readonly member: number }
  readonly peers: Peers
  readonly #raft: RaftDriver
  readonly #machine: ClusterStateMachine
  readonly #clock: () => number
  readonly #freshness: Freshness
  /** Since when no leader is known here; undefined while one is. */
  #leaderless: number | undefined

  constructor(
    member: number,
    raft: RaftDriver,
    machine: ClusterStateMachine,
    peers: Peers,
    clock = () => performance.now(),
  ) {
    this.self = { member, node: nodeIdOf(member) }
    this.#raft = raft
    this.#machine = machine
    this.peers = peers
    this.#clock = clock
    this.#freshness = new Freshness(clock, () => raft.status().applied)
    const look = ({ leader }: Status) =>
      (this.#leaderless = leader === NONE ? (this.#leaderless ?? clock()) : undefined)
    look(raft.status())
    raft.onChange(look)
  }

  state(): State {
    return this.#machine.state
  }

  async propose<C extends Command>(
    command: C,
    actor: Actor,
    options: { timeoutMs?: number } = {},
  ): Promise<ResultOf<C>> {
    const timeoutMs = options.timeoutMs ?? this.#patience(proposeTimeoutMs, proposeWithoutLeaderMs)
    const origin = originOf(command, actor)
    const at = new Date().toISOString()
    const entry = encodeEntry({ v: 1, at, actor: actorInLog(actor), command, ...(origin ? { origin } : {}) })
    const { result } = await this.#raft.propose(entry, { timeoutMs }).catch(throwProblem)
    return readAnswer(result) as ResultOf<C>
  }

  async barrier(): Promise<void> {
    const timeoutMs = this.#patience(barrierTimeoutMs, electionMs, staleReadHint)
    const read = () => this.#raft.barrier({ timeoutMs })
    await this.#freshness.confirm(read).catch((error: unknown) => {
      // Nothing was changed by a read, so its end is never unknown.
      if (error instanceof RaftError && (error.code === 'timeout' || error.code === 'stopped'))
        throw new ProblemError('no_leader', 'no majority of the voters answered', {
          cause: error,
          hint: staleReadHint,
        })
      return throwProblem(error)
    })
  }

  staleMs(): number | null {
    return this.#freshness.age()
  }

  /** By the answer to a heartbeat: a leader that a majority confirmed so long ago had applied this entry then. */
  told(ageMs: number, index: number): void {
    this.#freshness.told(ageMs, index)
  }

  /** Before a planned stop: another voter leads at once, so that no write waits for an election. Its node id. */
  async handOver(): Promise<string | undefined> {
    for (let tries = 0; ; tries++) {
      const { role, conf } = this.#raft.status()
      if (role !== 'leader' || conf.voters.every((voter) => voter === this.self.member)) return undefined
      try {
        await this.#raft.transferLeadership()
        const { leader } = this.status()
        return leader === this.self.node ? undefined : (leader ?? undefined)
      } catch (error) {
        // Who answers is counted anew now and then, and a moment later everybody has.
        if (!(error instanceof RaftError) || error.code !== 'not_ready' || tries >= 3) throw error
        await pause(150)
      }
    }
  }

  /** How long to wait for the cluster, ms. Throws where there was no leader for too long already. */
  #patience(usual: number, withoutLeader: number, hint?: string): number {
    if (this.#leaderless === undefined) return usual
    const silent = this.#clock() - this.#leaderless
    if (silent < electionMs) return withoutLeader
    const voters = this.#raft.status().conf.voters.length
    throw new ProblemError(
      'no_leader',
      `no leader for ${formatDuration(silent / 1000)}: ${Math.floor(voters / 2) + 1} of the ${voters} voters must reach each other`,
      hint === undefined ? {} : { hint },
    )
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

  audit(read: AuditRead): Promise<AuditPage> {
    return this.#machine.audit(read)
  }

  auditAfter(seq: number): AsyncIterable<AuditRecord> {
    return this.#machine.auditAfter(seq)
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
