import type { Reason } from '../../contract/index.ts'
import type { Placement } from '../cluster/commands.ts'
import type { State } from '../cluster/state.ts'
import { unlimitedMs } from '../cluster/rules/reserved.ts'
import { billOf, weightOf } from '../cluster/rules/shares.ts'
import { keepFor, nominationHolds } from './backfill.ts'
import type { Board, Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { runtimeFor } from './fit.ts'
import { endOf, type Gang } from './gang.ts'
import { boundsFor, charge, type Hold, within } from './holds.ts'
import { type Entry, type Lane, type Pool, type Turn, Turns } from './lanes.ts'
import { QuotaCheck } from './limits.ts'
import { Leavers } from './leavers.ts'
import { type Bounds, hasRoom, noBounds, type PlaceContext, placeGang } from './place.ts'
import type { Plan, Preemption } from './plan.ts'
import { findVictims } from './preemption.ts'
import { overruns } from './overruns.ts'
import { Calendar } from './reservations.ts'
import { shareTable } from './shares.ts'
import type { Surroundings } from './surroundings.ts'
import { type Why, why } from './words.ts'

/** Told of everything that was looked at, in order. */
export interface Trace {
  /** `verdict` is null when the gang was placed. */
  visited(entry: Entry, gang: Gang, verdict: Why | null, takes: readonly Take[]): void
}

export interface PassOptions {
  readonly trace?: Trace
  /**
   * Why things wait: of `all` whose sentence is not as it stood, of those whose `cause` changed, or of nothing. Sentences
   * name figures and take time to make.
   */
  readonly tell?: 'all' | 'cause' | 'nothing'
}

/** So many blocked heads have room kept for them; the first of each pool is always among them. */
const mostHeads = 3
/** Heads for which nothing can be kept are passed over, but not without end. */
const mostTried = 6
/** Where a cause changes for thousands, so many are told at once: the next pass tells of others. */
const mostTold = 150
/** What is placed is charged as if it ran so long, seconds: whoever is behind does not get all that is free. */
const chargedSeconds = 3600

/** One pass over everything that waits. Everything tried on the index is given back by `undo`. */
export class Pass {
  readonly #index: ClusterIndex
  readonly #board: Board
  readonly #state: State
  readonly #surroundings: Surroundings
  readonly #context: PlaceContext
  readonly #trace: Trace | undefined
  readonly #takes: Take[] = []
  readonly #place = new Map<string, Placement[]>()
  readonly #wait: { workload: string; reason: Reason }[] = []
  readonly #preempt: Preemption[] = []
  readonly #holds: Hold[] = []
  readonly #calendar: Calendar
  readonly #quotas: QuotaCheck
  readonly #telling: NonNullable<PassOptions['tell']>
  readonly #noRoom = new Map<string, Why>()
  readonly #bounds = new Map<string, Bounds>()
  readonly #leavers: Leavers
  /** Tasks that were chosen to make room. */
  readonly #leaving = new Set<string>()
  #heads = 0
  #tried = 0
  readonly #headOf = new Set<string>()
  /** Where a family found no room beside what is kept from so many ms on; whoever runs longer finds none either. */
  readonly #keptOut = new Map<string, { from: number; why: Why }>()

  constructor(
    index: ClusterIndex,
    state: State,
    surroundings: Surroundings,
    { trace, tell = 'all' }: PassOptions,
  ) {
    this.#index = index
    this.#board = index.board
    this.#state = state
    this.#surroundings = surroundings
    this.#context = { board: index.board, images: surroundings.images }
    this.#quotas = new QuotaCheck(state, surroundings.now)
    this.#calendar = new Calendar(state, index.board, index.calendar, surroundings.now)
    this.#leavers = new Leavers(index, surroundings.now)
    this.#trace = trace
    this.#telling = tell
  }

  *run(): Generator<void, Plan, void> {
    this.#board.refresh(this.#surroundings)
    yield
    this.#holds.push(...nominationHolds(this.#index, this.#state, this.#surroundings.now))
    const evict = overruns(this.#index, this.#state, this.#surroundings.now)
    for (const { tasks } of evict) for (const task of tasks) this.#leaving.add(task)
    yield* this.#runPool('gpu')
    yield* this.#runPool('cpu')
    const place = [...this.#place].map(([workload, placements]) => ({ workload, placements }))
    return { place, wait: this.#wait, preempt: this.#preempt, evict, holds: this.#holds }
  }

  undo(): void {
    for (const take of this.#takes.splice(0).reverse()) this.#board.giveBack(take)
  }

  *#runPool(pool: Pool): Generator<void, void, void> {
    this.#keptOut.clear()
    const held = this.#holds.length
    const turns = new Turns(
      this.#lanes(pool),
      shareTable(this.#state, this.#index.lanes.byKey.values(), this.#surroundings.now),
      this.#surroundings.now,
    )
    for (let turn = turns.next(); turn; turn = turns.next()) {
      yield* this.#serve(turns, turn)
      yield
    }
    // Room kept for work with GPUs does not make work without any wait.
    if (pool !== 'gpu') return
    this.#setAside(held)
    this.#bounds.clear()
  }

  /** The holds of the GPU pool are only told, not kept from the other one. */
  #setAside(from: number): void {
    for (const [at, hold] of this.#holds.entries())
      if (at >= from)
        this.#holds[at] = { ...hold, isFor: (workload) => hold.isFor(workload) || !hasGpus(workload) }
  }

  *#lanes(pool: Pool): Generator<Lane> {
    for (const lane of this.#index.lanes.byKey.values()) if (lane.pool === pool) yield lane
  }

  *#serve(turns: Turns, turn: Turn): Generator<void, void, void> {
    const { lane, head } = turn
    const { array_limit } = head.workload
    const most = array_limit === null ? Infinity : array_limit - head.running
    let placed = 0
    for (const gang of head.gangs) {
      if (placed >= most) {
        this.#block(head, gang, why.arrayLimit(head.workload))
        break
      }
      const early = gang.tasks.find(
        ({ not_before }) => not_before && Date.parse(not_before) > this.#surroundings.now,
      )
      if (early?.not_before) {
        this.#block(head, gang, why.notBefore(early.not_before))
        continue
      }
      const verdict = yield* this.#try(head, gang, head.running + placed === 0)
      if (verdict) {
        this.#block(head, gang, verdict)
        if (verdict.forAll) return this.#blockLane(turns, turn, verdict)
        if (verdict.from !== undefined) return this.#passOver(turns, turn, verdict, verdict.from)
        break
      }
      placed++
      const bill = gang.tasks.reduce((sum, task) => sum + billOf(task), 0) * chargedSeconds
      const { team, user } = lane
      turns.charge(
        lane,
        bill / weightOf(this.#state, `team:${team}`),
        bill / weightOf(this.#state, `user:${user}`),
      )
    }
    turns.skip(turn)
  }

  /** Where the first finds no room beside what is kept for others, those of its lane that run as long find none either. */
  #passOver(turns: Turns, turn: Turn, verdict: Why, from: number): void {
    const { lane } = turn
    if (isPast(lane.shortest, from) && this.#allKnow(lane, verdict)) return turns.end(turn)
    let told = turn.at === 0 && turn.head.told?.code === verdict.code
    turns.skip(turn, (entry) => {
      const [gang] = entry.gangs
      if (!gang || !isPast(entry.span, from)) return (told = false)
      told &&= entry.told?.code === verdict.code
      this.#block(entry, gang, verdict)
      return true
    })
    if (told) lane.told = verdict.code
  }

  /** Nothing is to be said of any of this lane, in this pass at least. */
  #allKnow({ told }: Lane, { code }: Why): boolean {
    if (this.#trace || this.#telling === 'all') return false
    return this.#telling === 'nothing' || told === code || this.#toldEnough
  }

  get #toldEnough(): boolean {
    return this.#telling === 'cause' && this.#wait.length >= mostTold
  }

  #block(entry: Entry, gang: Gang, verdict: Why): void {
    this.#trace?.visited(entry, gang, verdict, [])
    this.#tell(entry, verdict)
  }

  #tell(entry: Entry, verdict: Why): void {
    if (this.#telling === 'nothing') return
    const isNew = entry.told?.code !== verdict.code
    if (!isNew && (this.#telling === 'cause' || entry.told?.message === verdict.reason().message)) return
    if (this.#toldEnough) return
    this.#wait.push({ workload: entry.workload.id, reason: verdict.reason() })
  }

  /** Where the first finds no room, nor do the others of its lane. */
  #blockLane(turns: Turns, turn: Turn, verdict: Why): void {
    turns.end(turn)
    const { lane } = turn
    if (this.#allKnow(lane, verdict)) return
    for (let at = turn.at + 1; at < lane.members.length; at++) {
      const entry = lane.members[at]
      const gang = entry?.gangs[0]
      if (entry && gang) this.#block(entry, gang, verdict)
    }
    if (lane.members.every(({ told }) => told?.code === verdict.code)) lane.told = verdict.code
  }

  /** Placed: null. Otherwise the first rule in its way. */
  *#try(entry: Entry, gang: Gang, first: boolean): Generator<void, Why | null, void> {
    const { workload } = gang
    const { now } = this.#surroundings
    const quota = this.#quotas.over(gang, first)
    if (quota) return why.quota(quota)
    if (!hasRoom(this.#board, gang)) return yield* this.#head(entry, gang, this.#noRoomFor(gang))
    const end = endOf(workload, now)
    const bounds = this.#boundsFor(workload, end)
    const family = bounds.size ? this.#signature(gang) : ''
    const out = this.#keptOut.get(family)
    if (out && isPast(end - now, out.from)) return out.why
    const takes = placeGang(this.#context, gang, bounds)
    if (takes) return this.#placed(gang, takes, end, first)
    // What is kept for others lies behind them in the queue; what is reserved does not: it is waited for like any end.
    const behind = this.#fits(gang, this.#calendar.boundsFor(workload))
    if (!behind && !this.#fits(gang, noBounds)) return yield* this.#head(entry, gang, this.#noRoomFor(gang))
    const holds = this.#holds.filter((hold) => end > hold.at && !hold.isFor(workload))
    const against = this.#calendar.against(workload)
    // Whoever runs into all of these finds no more room.
    const begins = [...holds.map(({ at }) => at), ...against.map((row) => Date.parse(row.starts_at))]
    const from = Math.max(...begins) - now
    const kept = why.kept(holds, against, workload, from)
    this.#keptOut.set(family, { from, why: kept })
    return behind ? kept : yield* this.#head(entry, gang, kept)
  }

  /** What it may use beside what is kept for others and what is reserved. Stands until something is placed or kept. */
  #boundsFor(workload: Gang['workload'], end: number): Bounds {
    const kept = this.#holds.map((hold, at) => (end > hold.at && !hold.isFor(workload) ? at : '')).join(' ')
    const key = `${kept} | ${this.#calendar.key(workload)}`
    let known = this.#bounds.get(key)
    if (!known)
      this.#bounds.set(
        key,
        (known = within(boundsFor(this.#holds, workload, end), this.#calendar.boundsFor(workload))),
      )
    return known
  }

  /** Would it fit if only so much were kept for others? */
  #fits(gang: Gang, bounds: Bounds): boolean {
    if (!hasRoom(this.#board, gang, bounds)) return false
    // Equal tasks that may lie anywhere fit as soon as there is room for all of them.
    if (gang.parts.length === 1 && !gang.workload.even) return true
    const mark = this.#board.mark()
    const found = placeGang(this.#context, gang, bounds)
    for (const take of found?.toReversed() ?? []) this.#board.giveBack(take)
    this.#board.rewind(mark)
    return found !== undefined
  }

  /** Families from which the same is kept. */
  #signature(gang: Gang): string {
    const against = this.#holds.map((hold, at) => (hold.isFor(gang.workload) ? '' : at))
    return `${gang.family} ${against.join(' ')} | ${this.#calendar.signature(gang.workload)}`
  }

  #placed(gang: Gang, takes: readonly Take[], end: number, first: boolean): null {
    const { workload } = gang
    this.#takes.push(...takes)
    this.#bounds.clear()
    charge(this.#holds, workload, end, takes)
    this.#quotas.charge(gang, first)
    const placements = this.#place.get(workload.id) ?? []
    this.#place.set(workload.id, placements)
    placements.push(...placementsOf(gang, takes))
    const entry = this.#index.lanes.entry(workload.id)
    if (entry) this.#trace?.visited(entry, gang, null, takes)
    return null
  }

  /** No room: the first of them have others leave for them, or room kept from when there will be some. */
  *#head(entry: Entry, gang: Gang, verdict: Why): Generator<void, Why, void> {
    const pool = poolOf(gang)
    if (this.#headOf.has(pool) || this.#heads >= mostHeads || this.#tried >= mostTried) return verdict

    const { now } = this.#surroundings
    if (entry.nominatedUntil > now) return why.nominated()
    this.#tried++
    const [context, index, state, leaving, calendar] = [this.#context, this.#index, this.#state, this.#leaving, this.#calendar] // prettier-ignore
    const beyond = boundsFor(this.#holds, gang.workload, Infinity)
    const bounds = within(beyond, calendar.boundsFor(gang.workload))
    const { useOf } = this.#quotas
    const leavers = this.#leavers
    const victims = yield* findVictims({ context, index, state, gang, bounds, leaving, leavers, useOf, now })
    if (victims) {
      this.#preempt.push(victims.preemption)
      this.#keep(victims.hold)
      for (const task of victims.tasks) this.#leaving.add(task)
      return why.preempts(victims.names)
    }
    const hold = yield* keepFor(context, index, gang, { bounds: beyond, calendar }, now)
    if (!hold) return verdict
    this.#heads++
    this.#headOf.add(pool)
    this.#keep(hold)
    return verdict
  }

  #keep(hold: Hold): void {
    this.#holds.push(hold)
    this.#bounds.clear()
  }

  /** The same for all of a family. */
  #noRoomFor(gang: Gang): Why {
    let known = this.#noRoom.get(gang.family)
    if (!known) this.#noRoom.set(gang.family, (known = why.noRoom(this.#board, gang)))
    return known
  }
}

const hasGpus = ({ roles }: Gang['workload']) =>
  Object.values(roles).some(({ resources, gpu }) => resources.gpu > 0 || gpu?.share)

/** Gangs of one pool compete for the same devices. */
const poolOf = ({ gpus, parts }: Gang): string => {
  const need = parts[0]?.shape.need
  return gpus === 0 ? 'cpu' : `gpu ${need?.model ?? ''} ${need?.mig ?? ''} ${need?.share ? 'shared' : ''}`
}

export function placementsOf(gang: Gang, takes: readonly Take[]): Placement[] {
  return gang.tasks.map((task, at) => {
    const take = takes[at]
    if (!take) throw new Error(`no place for ${task.id}`)
    const { row } = take.site
    const runtime = runtimeFor(row, { image: take.shape.image }) ?? 'docker'
    return { task: task.id, attempt: task.attempt + 1, node: row.id, runtime, gpus: take.gpus }
  })
}

/** Does what runs so long, ms, reach what begins in `from`? To reservations what has no limit runs for a day. */
const isPast = (span: number, from: number): boolean =>
  span > from && (span !== Infinity || from < unlimitedMs)
