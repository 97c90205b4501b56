import { decodeConfChange } from './codec.ts'
import { isJoint } from './confchange.ts'
import { ConfWaiters, checkChange } from './conf-waiters.ts'
import {
  defaultDriverOptions,
  type DriverOptions,
  type OpenOptions,
  type StateMachine,
} from './driver-api.ts'
import { systemEnv, type Env } from './env.ts'
import { Metrics } from './metrics.ts'
import { RaftNode, type Ready, type Status } from './node.ts'
import { Proposals } from './proposals.ts'
import { Reads } from './reads.ts'
import { Sessions } from './sessions.ts'
import { Snapshots, restoreFrom } from './snapshots.ts'
import { StoreError } from './store.ts'
import {
  NONE,
  RaftError,
  assertInvariant,
  defaultRaftConfig,
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  type Index,
  type Message,
  type NodeId,
  type SnapshotMessage,
} from './types.ts'

/** More ticks than this are not made up for: after a stall the world is asked first, not the clock. */
const MAX_TICKS_AT_ONCE = 2
/** Turns of work before input is looked at again. */
const MAX_TURNS = 8

/**
 * Runs one member: clock, disk, network and state machine around the pure core. Everything happens in `#pump`, which
 * is deferred so that all input of a moment shares one Ready, one write and one message per peer (group commit).
 */
export class RaftDriver {
  readonly #o: OpenOptions
  readonly #options: DriverOptions
  readonly #env: Env
  readonly #node: RaftNode
  readonly #sm: StateMachine
  readonly #metrics = new Metrics()
  readonly #proposals: Proposals
  readonly #reads: Reads
  readonly #confWaiters: ConfWaiters
  readonly #snapshots: Snapshots
  #sessions: Sessions
  #listeners = new Set<(s: Status) => void>()
  #outbox: Uint8Array[] = []
  #scheduled = false
  /** A Ready is being persisted; the next one hands out nothing that needs the disk. */
  #writing: Promise<void> | undefined
  /** A commit index that is not stored yet. It rides on the next write; a restart finds it again anyway. */
  #lazyHard: HardState | undefined
  #flushing: Promise<void> | undefined
  #flushed: Index
  #lastTick: number
  #stopTimer: () => void
  #stopped: Error | undefined
  #failed: Error | undefined

  private constructor(o: OpenOptions, options: DriverOptions, sessions: Sessions, applied: Index) {
    this.#o = o
    this.#options = options
    this.#env = o.env ?? systemEnv
    this.#sm = o.stateMachine
    this.#sessions = sessions
    this.#flushed = applied
    this.#node = new RaftNode(coreConfig(o.id, options, applied), o.store, () => this.#env.random())
    const retryMs = options.electionMs * 2
    this.#proposals = new Proposals(this.#proposalHost(), this.#env, {
      retryMs,
      maxBytes: options.maxUncommittedBytes,
    })
    this.#reads = new Reads(this.#env, retryMs, (id) => this.#node.readIndex(id))
    this.#confWaiters = new ConfWaiters(this.#env)
    this.#snapshots = new Snapshots(o, options, this.#metrics, {
      node: this.#node,
      rows: () => this.#sessions.rows(),
      flush: () => this.#flushAll(true),
      fatal: (e) => this.#fatal(e),
      schedule: () => this.#schedule(),
    })
    this.#lastTick = this.#env.now()
    this.#stopTimer = this.#env.every(options.tickMs, () => this.#onTimer())
  }

  static async open(o: OpenOptions): Promise<RaftDriver> {
    const options = { ...defaultDriverOptions, ...o.options }
    const { sessions, applied } = await openState(o)
    const driver = new RaftDriver(o, options, sessions, applied)
    o.transport.onMessage((m) => driver.#onMessage(m))
    o.transport.onSnapshot((m, data) => driver.#onSnapshot(m, data))
    // Nobody else can lead, so there is nobody to wait for.
    const { voters, votersOutgoing } = driver.#node.conf
    if (voters.length === 1 && voters[0] === o.id && votersOutgoing.length === 0) driver.#node.campaign()
    driver.#schedule()
    return driver
  }

  /** Runs a command exactly once on every member, and returns what it gave here. Any member may be asked. */
  async propose(data: Uint8Array, o?: { timeoutMs?: number }): Promise<{ index: Index; result: Uint8Array }> {
    this.#checkRunning()
    const { maxCommandBytes, timeoutMs } = this.#options
    if (data.length > maxCommandBytes)
      throw new RaftError(
        'too_large',
        `a command has at most ${maxCommandBytes} bytes, this one has ${data.length}`,
      )
    this.#metrics.proposals++
    const answer = this.#proposals.propose(data, o?.timeoutMs ?? timeoutMs)
    this.#schedule()
    return answer
  }

  /** Resolves when this member has applied everything that was acknowledged anywhere before the call. */
  async barrier(o?: { timeoutMs?: number }): Promise<Index> {
    this.#checkRunning()
    this.#metrics.barriers++
    const done = this.#reads.barrier(o?.timeoutMs ?? this.#options.timeoutMs)
    this.#schedule()
    return done
  }

  /** On the leader only. Resolves when the new configuration is applied here, and not joint any more. */
  async changeMembers(change: ConfChange, o?: { timeoutMs?: number }): Promise<ConfState> {
    this.#checkRunning()
    const propose = () => {
      this.#checkRunning()
      checkChange(change, this.#node.status(), this.#options.promoteLag)
      return this.#node.proposeConf(change)
    }
    const done = this.#confWaiters.propose(propose, o?.timeoutMs ?? this.#options.timeoutMs)
    this.#schedule()
    return done
  }

  /** Hands leadership to `to`, or to the member that is furthest. Resolves when another leader is known. */
  async transferLeadership(to?: NodeId): Promise<void> {
    this.#checkRunning()
    const status = this.#node.status()
    if (status.role !== 'leader')
      throw new RaftError('not_leader', 'only the leader can hand leadership over')
    const target = to ?? bestSuccessor(status)
    if (target === this.#o.id) return
    if (!status.conf.voters.includes(target)) throw new RaftError('not_ready', 'no voter is fit to take over')
    this.#node.transferTo(target)
    this.#schedule()
    await this.#until((s) => s.leader !== NONE && s.leader !== this.#o.id, this.#options.electionMs * 3)
  }

  status(): Status {
    return this.#node.status()
  }

  /** Calls f after every change of leader, role or members. */
  onChange(f: (s: Status) => void): () => void {
    this.#listeners.add(f)
    return () => this.#listeners.delete(f)
  }

  metrics(): Record<string, number> {
    const { term, commit, applied, lastIndex, firstIndex } = this.#node.status()
    return {
      ...this.#metrics.values(),
      term,
      commit,
      applied,
      lastIndex,
      firstIndex,
      flushed: this.#flushed,
      pendingProposals: this.#proposals.count,
      sessions: this.#sessions.size,
    }
  }

  /** Stops, writes what is pending, closes the store. Not a hand-over: a leader should transfer leadership first. */
  async close(): Promise<void> {
    this.#stop(new RaftError('stopped', 'the member was closed'))
    try {
      await this.#writing
      await this.#snapshots.idle()
      if (!this.#failed) {
        await this.#flushAll(true)
        if (this.#lazyHard) await this.#o.store.append([], this.#lazyHard, true)
      }
    } finally {
      await this.#o.store.close()
    }
  }

  // ---- input

  #onMessage(m: Message): void {
    if (this.#stopped) return
    this.#metrics.messagesIn++
    this.#guard(() => {
      if (m.type === 'propose') this.#onForwarded(m.from, m.commands)
      else if (m.type === 'proposeRefused') this.#proposals.onRefused(m.commands, m.busy)
      // A snapshot message without its data is nothing to act on.
      else if (m.type !== 'snapshot') this.#node.step(m)
    })
    this.#schedule()
  }

  async #onSnapshot(m: SnapshotMessage, data: AsyncIterable<Uint8Array>): Promise<void> {
    this.#checkRunning()
    await this.#snapshots.receive(m, data)
    this.#guard(() => this.#node.step(m))
    this.#schedule()
  }

  #onForwarded(from: NodeId, commands: readonly Uint8Array[]): void {
    const refused = { dropped: [] as Uint8Array[], busy: [] as Uint8Array[] }
    for (const c of commands) {
      const result = this.#node.propose(c)
      if (result === 'dropped' || result === 'busy') refused[result].push(c)
    }
    for (const [why, list] of Object.entries(refused))
      if (list.length > 0)
        this.#send([
          {
            type: 'proposeRefused',
            from: this.#o.id,
            to: from,
            term: 0,
            commands: list,
            busy: why === 'busy',
          },
        ])
  }

  #proposalHost(): ConstructorParameters<typeof Proposals>[0] {
    return {
      id: this.#o.id,
      leader: () => this.#node.leader,
      append: (command) => {
        const result = this.#node.propose(command)
        return typeof result === 'string' ? result : 'appended'
      },
      forward: (command) => void this.#outbox.push(command),
    }
  }

  /** Ticks wait for input that has already arrived: a heartbeat in the socket must count before the timeout does. */
  #onTimer(): void {
    const now = this.#env.now()
    const due = Math.floor((now - this.#lastTick) / this.#options.tickMs)
    if (due <= 0) return
    this.#lastTick += due * this.#options.tickMs
    const ticks = Math.min(due, MAX_TICKS_AT_ONCE)
    this.#metrics.ticksDropped += due - ticks
    this.#env.defer(() => {
      if (this.#stopped) return
      this.#guard(() => {
        for (let i = 0; i < ticks; i++) this.#node.tick()
        this.#proposals.tick()
        this.#reads.retry(false)
        this.#confWaiters.retry()
      })
      this.#schedule()
    })
  }

  // ---- work

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return
    this.#scheduled = true
    this.#env.defer(() => this.#pump())
  }

  #pump(): void {
    this.#scheduled = false
    if (this.#stopped) return
    this.#guard(() => {
      this.#reads.flush()
      for (let i = 0; i < MAX_TURNS && this.#node.hasReady(!this.#writing); i++) this.#turn()
      this.#sendForwards()
      this.#snapshots.maybeTake()
      if (this.#node.hasReady(!this.#writing)) this.#schedule()
    })
  }

  #turn(): void {
    const ready = this.#node.ready(!this.#writing)
    // First: what may leave now must not wait for disk or state machine (thesis 10.2.1).
    this.#send(ready.messages)
    this.#persist(ready)
    this.#apply(ready.committed)
    for (const { id, index } of ready.reads) this.#reads.onRead(id, index, this.#node.appliedIndex)
    if (ready.soft) this.#onSoftState()
  }

  #send(messages: readonly Message[]): void {
    if (messages.length === 0) return
    const ordinary: Message[] = []
    for (const m of messages) {
      if (m.to === this.#o.id) continue
      if (m.type === 'snapshot') this.#snapshots.send(m)
      else ordinary.push(m)
    }
    this.#metrics.messagesOut += ordinary.length
    if (ordinary.length > 0) this.#o.transport.send(ordinary)
  }

  #sendForwards(): void {
    if (this.#outbox.length === 0) return
    const commands = this.#outbox
    this.#outbox = []
    const to = this.#node.leader
    if (to === NONE || to === this.#o.id) return // they are sent again later
    this.#send([{ type: 'propose', from: this.#o.id, to, term: 0, commands }])
  }

  #persist(ready: Ready): void {
    if (!ready.persist) return
    if (ready.hard) this.#lazyHard = ready.hard
    if (!ready.mustSync && !ready.snapshot) {
      this.#persisted(ready)
      return
    }
    const hard = this.#lazyHard
    this.#lazyHard = undefined
    const work = ready.snapshot ? this.#install(ready, hard) : this.#append(ready, hard)
    this.#writing = work.then(
      () => {
        this.#writing = undefined
        if (this.#stopped) return
        this.#guard(() => this.#persisted(ready))
        this.#schedule()
      },
      (e: unknown) => {
        this.#writing = undefined
        this.#fatal(e)
      },
    )
  }

  #persisted(ready: Ready): void {
    this.#node.persisted(ready)
    this.#send(ready.afterSync)
  }

  async #append(ready: Ready, hard: HardState | undefined): Promise<void> {
    const start = this.#env.now()
    await this.#o.store.append(ready.entries, hard, true)
    this.#metrics.synced(this.#env.now() - start, ready.entries.length)
  }

  /** Log first, then state: a crash in between is repaired at open from the stored snapshot. */
  async #install(ready: Ready, hard: HardState | undefined): Promise<void> {
    const { store, stateMachine } = this.#o
    const meta = ready.snapshot
    assertInvariant(meta !== undefined, 'no snapshot to install')
    await this.#snapshots.idle()
    while (this.#flushing) await this.#flushing
    await store.installSnapshot(meta, hard && { ...hard, commit: meta.index })
    this.#sessions = await restoreFrom(store.openSnapshot(), meta.index, stateMachine)
    this.#flushed = meta.index
    this.#metrics.snapshotsInstalled++
    this.#o.log?.info('snapshot installed', { index: meta.index, bytes: meta.bytes })
    if (ready.entries.length > 0) await store.append(ready.entries, hard, true)
    if (this.#stopped) return
    this.#proposals.onRestored(this.#sessions)
    this.#confWaiters.onRestored(meta.index)
    this.#env.defer(() => this.#guard(() => this.#reads.onApplied(this.#node.appliedIndex)))
    this.#notify()
  }

  #apply(entries: readonly Entry[]): void {
    const last = entries.at(-1)
    if (!last) return
    let confChanged = false
    for (const e of entries) {
      if (e.kind === 'config') confChanged = this.#applyConfig(e) || confChanged
      else if (e.data.length > 0) this.#applyCommand(e)
      this.#confWaiters.onEntry(e, this.#node.conf, isJoint(this.#node.conf))
    }
    this.#metrics.applied += entries.length
    this.#node.applied(last.index)
    this.#reads.onApplied(last.index)
    this.#flush()
    if (confChanged) this.#notify()
  }

  #applyConfig(e: Entry): boolean {
    const before = this.#node.conf
    const after = this.#node.applyConf(decodeConfChange(e.data))
    if (before !== after) this.#o.log?.info('members changed', { index: e.index, conf: after })
    return before !== after
  }

  #applyCommand(e: Entry): void {
    const outcome = this.#sessions.apply(e, (data) => this.#sm.apply({ index: e.index, term: e.term, data }))
    this.#proposals.onOutcome(outcome)
  }

  /** One flush at a time; what is applied meanwhile shares the next one. */
  #flush(): void {
    if (this.#flushing || this.#stopped || this.#flushed === this.#node.appliedIndex) return
    const run = this.#flushOnce(false)
    this.#flushing = run.then(
      () => {
        this.#flushing = undefined
        this.#flush()
      },
      (e: unknown) => {
        this.#flushing = undefined
        this.#fatal(e)
      },
    )
  }

  async #flushOnce(sync: boolean): Promise<void> {
    const applied = this.#node.appliedIndex
    await this.#sm.flush(applied, this.#sessions.takeDirty(), sync)
    this.#flushed = applied
    this.#metrics.flushes++
  }

  /** Everything applied so far is in the state machine's storage; with sync, for good. */
  async #flushAll(sync: boolean): Promise<void> {
    while (this.#flushing) await this.#flushing
    if (this.#failed) throw this.#failed
    const run = this.#flushOnce(sync)
    this.#flushing = run.finally(() => (this.#flushing = undefined))
    await this.#flushing
    this.#flush()
  }

  // ---- changes, failure

  #onSoftState(): void {
    const { role, leader, term } = this.#node
    this.#o.log?.info('leader or role changed', { role, leader, term })
    this.#metrics.roleChanges++
    this.#reads.retry(true)
    if (leader !== NONE) this.#proposals.onLeader()
    if (role !== 'leader') this.#confWaiters.onLeadershipLost()
    this.#notify()
    this.#schedule()
  }

  #notify(): void {
    if (this.#listeners.size === 0) return
    const s = this.#node.status()
    for (const f of [...this.#listeners]) f(s)
  }

  #until(condition: (s: Status) => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (finish: () => void) => {
        off()
        cancel()
        finish()
      }
      const cancel = this.#env.after(timeoutMs, () =>
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
    this.#o.log?.warn('the member stops', { error: error.message })
    this.#stop(error)
    this.#o.onFatal(error)
  }

  #stop(reason: Error): void {
    if (this.#stopped) return
    this.#stopped = reason
    this.#stopTimer()
    const error =
      reason instanceof RaftError ? reason : new RaftError('stopped', 'the member failed', { cause: reason })
    this.#proposals.stop(error)
    this.#reads.stop(error)
    this.#confWaiters.stop(error)
  }

  #checkRunning(): void {
    if (this.#stopped)
      throw new RaftError('stopped', 'the member does not run any more', { cause: this.#stopped })
  }
}

function coreConfig(id: NodeId, o: DriverOptions, applied: Index): ConstructorParameters<typeof RaftNode>[0] {
  const { maxMessageBytes, maxUncommittedBytes } = o
  return {
    ...defaultRaftConfig,
    id,
    applied,
    electionTicks: Math.max(2, Math.round(o.electionMs / o.tickMs)),
    heartbeatTicks: Math.max(1, Math.round(o.heartbeatMs / o.tickMs)),
    maxMessageBytes,
    maxUncommittedBytes,
    maxInflightBytes: Math.max(defaultRaftConfig.maxInflightBytes, maxMessageBytes),
  }
}

/** Brings state machine and log together: after a crash, or a state that was thrown away, the snapshot fills the gap. */
async function openState({
  store,
  stateMachine,
}: OpenOptions): Promise<{ sessions: Sessions; applied: Index }> {
  const { index } = store.initial()
  const { applied } = stateMachine
  if (applied > store.lastIndex())
    throw new StoreError(
      'corrupt',
      `the state machine has applied ${applied}, but the log ends at ${store.lastIndex()}: one of them is older than the other`,
    )
  if (applied >= index) return { sessions: new Sessions(await stateMachine.sessions()), applied }
  const meta = store.snapshot()
  // The founders' snapshot stands for the empty state.
  if (meta && meta.bytes === 0) return { sessions: new Sessions(), applied: index }
  return { sessions: await restoreFrom(store.openSnapshot(), index, stateMachine), applied: index }
}

function bestSuccessor(s: Status): NodeId {
  let best: NodeId = NONE
  for (const [id, p] of s.progress) {
    if (!s.conf.voters.includes(id) || !p.recentActive) continue
    if (best === NONE || p.match > (s.progress.get(best)?.match ?? 0)) best = id
  }
  return best
}
