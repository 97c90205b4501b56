import { Applier } from './applier.ts'
import { Clock } from './clock.ts'
import { ConfWaiters, checkChange } from './conf-waiters.ts'
import { defaultDriverOptions, type DriverOptions, type OpenOptions } from './driver-api.ts'
import { systemEnv } from './env.ts'
import { Input } from './input.ts'
import type { Member } from './member.ts'
import { Metrics } from './metrics.ts'
import { RaftNode, type Status } from './node.ts'
import { coreConfig, openState } from './opening.ts'
import { Persister } from './persister.ts'
import { Proposals } from './proposals.ts'
import { Reads } from './reads.ts'
import { Sender } from './sender.ts'
import type { Sessions } from './sessions.ts'
import { Snapshots } from './snapshots.ts'
import type { SnapshotPoint, SnapshotSource } from './store.ts'
import { NONE, RaftError, type ConfChange, type ConfState, type Index, type NodeId } from './types.ts'

/** Turns of work before input is looked at again. */
const MAX_TURNS = 8

/**
 * Runs one member: clock, disk, network and state machine around the pure core. Everything happens in `#pump`, which
 * is deferred so that all input of a moment shares one Ready, one write and one message per peer (group commit).
 */
export class RaftDriver {
  readonly #member: Member
  readonly #proposals: Proposals
  readonly #reads: Reads
  readonly #confWaiters: ConfWaiters
  readonly #snapshots: Snapshots
  readonly #input: Input
  readonly #sender: Sender
  readonly #persister: Persister
  readonly #applier: Applier
  readonly #clock: Clock
  readonly #listeners = new Set<(s: Status) => void>()
  #scheduled = false
  #stopped: Error | undefined
  #failed: Error | undefined

  private constructor(o: OpenOptions, options: DriverOptions, at: { sessions: Sessions; applied: Index }) {
    const m = this.#makeMember(o, options, at.applied)
    const { env, node } = m
    this.#member = m
    const retryMs = options.electionMs * 2
    this.#proposals = new Proposals(this.#proposalHost(), env, {
      retryMs,
      maxBytes: options.maxUncommittedBytes,
    })
    this.#reads = new Reads(env, retryMs, (id) => node.readIndex(id))
    this.#confWaiters = new ConfWaiters(env)
    this.#snapshots = new Snapshots(o, options, m.metrics, {
      node,
      rows: () => this.#applier.rows(),
      flush: () => this.#applier.flushAll(true),
      fatal: (e) => this.#fatal(e),
      schedule: () => this.#schedule(),
    })
    this.#sender = new Sender(m, this.#snapshots)
    this.#input = new Input(m, this.#proposals, this.#snapshots, this.#sender)
    const waiting = { proposals: this.#proposals, reads: this.#reads, confWaiters: this.#confWaiters }
    this.#applier = new Applier(m, waiting, this.#snapshots, at)
    this.#persister = new Persister(m, (ready, hard) => this.#applier.install(ready, hard))
    this.#clock = new Clock(m, () => {
      this.#proposals.tick()
      this.#reads.tick()
      this.#confWaiters.retry()
      this.#applier.flush()
    })
  }

  static async open(o: OpenOptions): Promise<RaftDriver> {
    const options = { ...defaultDriverOptions, ...o.options }
    const driver = new RaftDriver(o, options, await openState(o))
    o.transport.onMessage((m) => driver.#input.onMessage(m))
    o.transport.onSnapshot((m, data) => driver.#input.onSnapshot(m, data))
    // Nobody else can lead, so there is nobody to wait for.
    const { node } = driver.#member
    const { voters, votersOutgoing } = node.conf
    if (voters.length === 1 && voters[0] === o.id && votersOutgoing.length === 0) node.campaign()
    driver.#schedule()
    return driver
  }

  /** Runs a command exactly once on every member, and returns what it gave here. Any member may be asked. */
  propose(data: Uint8Array, o?: { timeoutMs?: number }): Promise<{ index: Index; result: Uint8Array }> {
    if (this.#stopped) return Promise.reject(this.#notRunning(this.#stopped))
    const { maxCommandBytes, timeoutMs } = this.#member.options
    if (data.length > maxCommandBytes)
      return Promise.reject(
        new RaftError(
          'too_large',
          `a command has at most ${maxCommandBytes} bytes, this one has ${data.length}`,
        ),
      )
    this.#member.metrics.proposals++
    const answer = this.#proposals.propose(data, o?.timeoutMs ?? timeoutMs)
    this.#schedule()
    return answer
  }

  /** Resolves when this member has applied everything that was acknowledged anywhere before the call. */
  barrier(o?: { timeoutMs?: number }): Promise<Index> {
    if (this.#stopped) return Promise.reject(this.#notRunning(this.#stopped))
    this.#member.metrics.barriers++
    const done = this.#reads.barrier(o?.timeoutMs ?? this.#member.options.timeoutMs)
    this.#schedule()
    return done
  }

  /** On the leader only. Resolves when the new configuration is applied here, and not joint any more. */
  async changeMembers(change: ConfChange, o?: { timeoutMs?: number }): Promise<ConfState> {
    this.#checkRunning()
    const propose = () => {
      this.#checkRunning()
      checkChange(change, this.#member.node.status(), this.#member.options.promoteLag)
      return this.#member.node.proposeConf(change)
    }
    const done = this.#confWaiters.propose(propose, o?.timeoutMs ?? this.#member.options.timeoutMs)
    this.#schedule()
    return done
  }

  /** Hands leadership to `to`, or to the member that is furthest. Resolves when another leader is known. */
  async transferLeadership(to?: NodeId): Promise<void> {
    this.#checkRunning()
    const status = this.#member.node.status()
    if (status.role !== 'leader')
      throw new RaftError('not_leader', 'only the leader can hand leadership over')
    const target = to ?? bestSuccessor(status)
    if (target === this.#member.o.id) return
    if (!status.conf.voters.includes(target)) throw new RaftError('not_ready', 'no voter is fit to take over')
    this.#member.node.transferTo(target)
    this.#schedule()
    await this.#until(
      (s) => s.leader !== NONE && s.leader !== this.#member.o.id,
      this.#member.options.electionMs * 3,
    )
  }

  /** The state as it is applied now, in a snapshot's form: for a member whose own state is not to be trusted. */
  image(): SnapshotPoint & { readonly data: SnapshotSource } {
    this.#checkRunning()
    return this.#snapshots.image()
  }

  status(): Status {
    return this.#member.node.status()
  }

  /** Calls f after every change of leader, role or members. */
  onChange(f: (s: Status) => void): () => void {
    this.#listeners.add(f)
    return () => this.#listeners.delete(f)
  }

  metrics(): Record<string, number> {
    const { term, commit, applied, lastIndex, firstIndex } = this.#member.node.status()
    return {
      ...this.#member.metrics.values(),
      term,
      commit,
      applied,
      lastIndex,
      firstIndex,
      flushed: this.#applier.flushed,
      pendingProposals: this.#proposals.count,
      sessions: this.#applier.sessions,
    }
  }

  /** Stops, writes what is pending, closes the store. Not a hand-over: a leader should transfer leadership first. */
  async close(): Promise<void> {
    this.#stop(new RaftError('stopped', 'the member was closed'))
    try {
      await this.#persister.idle()
      await this.#snapshots.idle()
      if (!this.#failed) {
        await this.#applier.flushAll(true)
        await this.#persister.finish()
      }
    } finally {
      await this.#member.o.store.close()
    }
  }

  // ---- parts

  #makeMember(o: OpenOptions, options: DriverOptions, applied: Index): Member {
    const env = o.env ?? systemEnv
    const stopped = () => this.#stopped !== undefined
    const failed = () => this.#failed
    return {
      o,
      options,
      env,
      node: new RaftNode(coreConfig(o.id, options, applied), o.store, () => env.random(), o.trace),
      metrics: new Metrics(),
      get stopped() {
        return stopped()
      },
      get failed() {
        return failed()
      },
      send: (messages) => this.#sender.send(messages),
      schedule: () => this.#schedule(),
      guard: (f) => this.#guard(f),
      fatal: (e) => this.#fatal(e),
      notify: () => this.#notify(),
    }
  }

  #proposalHost(): ConstructorParameters<typeof Proposals>[0] {
    const { node, o } = this.#member
    return {
      id: o.id,
      leader: () => node.leader,
      append: (command) => {
        const result = node.propose(command)
        return typeof result === 'string' ? result : 'appended'
      },
      forward: (command) => this.#input.forward(command),
    }
  }

  // ---- work

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return
    this.#scheduled = true
    this.#member.env.defer(() => this.#pump())
  }

  #pump(): void {
    this.#scheduled = false
    if (this.#stopped) return
    const { node } = this.#member
    this.#guard(() => {
      this.#reads.flush()
      for (let i = 0; i < MAX_TURNS && node.hasReady(!this.#persister.busy); i++) this.#turn()
      this.#input.sendForwards()
      this.#snapshots.maybeTake()
      if (node.hasReady(!this.#persister.busy)) this.#schedule()
    })
  }

  #turn(): void {
    const { node } = this.#member
    const ready = node.ready(!this.#persister.busy)
    // First: what may leave now must not wait for disk or state machine (thesis 10.2.1).
    this.#sender.send(ready.messages)
    this.#persister.persist(ready)
    if (this.#applier.apply(ready.committed)) this.#onMembersChanged()
    this.#persister.settle(ready.committed.findLast((e) => e.kind === 'config')?.index ?? 0)
    for (const { id, index } of ready.reads) this.#reads.onRead(id, index, node.appliedIndex)
    if (ready.soft) this.#onSoftState()
  }

  // ---- changes, failure

  /** A leader that removed itself may be gone in a moment, and the others must not have to guess that it was committed. */
  #onMembersChanged(): void {
    this.#sender.release()
    this.#notify()
  }

  #onSoftState(): void {
    const { role, leader, term } = this.#member.node
    this.#member.o.log?.info('leader or role changed', { role, leader, term })
    this.#member.metrics.roleChanges++
    this.#reads.retry(true)
    if (leader !== NONE) this.#proposals.onLeader()
    if (role !== 'leader') this.#confWaiters.onLeadershipLost()
    this.#notify()
    this.#schedule()
  }

  #notify(): void {
    if (this.#listeners.size === 0) return
    const s = this.#member.node.status()
    for (const f of [...this.#listeners]) f(s)
  }

  #until(condition: (s: Status) => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (finish: () => void) => {
        off()
        cancel()
        finish()
      }
      const cancel = this.#member.env.after(timeoutMs, () =>
        end(() => reject(new RaftError('timeout', 'it did not happen in time'))),
      )
      const off = this.onChange((s) => condition(s) && end(resolve))
    })
  }

  #guard(f: () => void): void {
    try {
      f()
    } catch (e) {
      this.#fatal(e)
    }
  }

  /** No second try after a storage error or a broken invariant: what is acknowledged from here on could be lost. */
  #fatal(e: unknown): void {
    if (this.#stopped) return
    const error = e instanceof Error ? e : new Error(String(e))
    this.#failed = error
    this.#member.o.log?.warn('the member stops', { error: error.message })
    this.#stop(error)
    this.#member.o.onFatal(error)
  }

  #stop(reason: Error): void {
    if (this.#stopped) return
    this.#stopped = reason
    this.#clock.stop()
    this.#sender.release()
    const error =
      reason instanceof RaftError ? reason : new RaftError('stopped', 'the member failed', { cause: reason })
    this.#proposals.stop(error)
    this.#reads.stop(error)
    this.#confWaiters.stop(error)
  }

  #checkRunning(): void {
    if (this.#stopped) throw this.#notRunning(this.#stopped)
  }

  #notRunning(cause: Error): RaftError {
    return new RaftError('stopped', 'the member does not run any more', { cause })
  }
}

function bestSuccessor(s: Status): NodeId {
  let best: NodeId = NONE
  for (const [id, p] of s.progress) {
    if (!s.conf.voters.includes(id) || !p.recentActive) continue
    if (best === NONE || p.match > (s.progress.get(best)?.match ?? 0)) best = id
  }
  return best
}
