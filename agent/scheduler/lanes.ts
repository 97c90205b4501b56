import { priorityClasses } from '../../contract/index.ts'
import type { Reason } from '../../contract/index.ts'
import type { Workload } from '../cluster/workloads.ts'
import type { Gang } from './gang.ts'

/** A workload of which something waits. */
export interface Entry {
  readonly workload: Workload
  readonly gangs: readonly Gang[]
  /** Tasks that run already, of an array. */
  readonly running: number
  /** What its row says of why it waits. */
  readonly told: Reason | null
  readonly nominatedUntil: number
  /** ms. */
  readonly createdAt: number
  /** How long it runs at most, ms. */
  readonly span: number
}

/** Entries that fit the same places and are counted against the same quotas, the oldest first: where the first finds no room, the others do not either. */
export interface Lane {
  readonly key: string
  readonly pool: Pool
  readonly rank: number
  readonly team: string
  readonly user: string
  readonly family: string
  readonly members: Entry[]
  /** Of its members, how long at most the one runs that is over first, ms; of those that left it perhaps. */
  shortest: number
  /** The code that all of its members were told; null when some may not have been. */
  told: string | null
}

/** Work without GPUs never waits behind work with some. */
export type Pool = 'gpu' | 'cpu'

export const rankOf = ({ priority }: Workload): number => priorityClasses.indexOf(priority)
const before = (a: Workload, b: Workload) =>
  a.created_at < b.created_at || (a.created_at === b.created_at && a.id < b.id)

/** Every waiting entry, in its lane. */
export class Lanes {
  readonly byKey = new Map<string, Lane>()
  readonly #laneOf = new Map<string, { lane: Lane; entry: Entry }>()

  get size(): number {
    return this.#laneOf.size
  }

  entry(id: string): Entry | undefined {
    return this.#laneOf.get(id)?.entry
  }

  set(id: string, entry: Entry | undefined): void {
    this.#remove(id)
    const first = entry?.gangs[0]
    if (!entry || !first) return
    const lane = this.#laneFor(entry.workload, first)
    lane.members.splice(placeOf(lane.members, entry.workload), 0, entry)
    lane.shortest = Math.min(lane.shortest, entry.span)
    if (entry.told?.code !== lane.told) lane.told = null
    this.#laneOf.set(id, { lane, entry })
  }

  #remove(id: string): void {
    const known = this.#laneOf.get(id)
    if (!known) return
    const { lane, entry } = known
    this.#laneOf.delete(id)
    const at = placeOf(lane.members, entry.workload)
    lane.members.splice(lane.members[at] === entry ? at : lane.members.indexOf(entry), 1)
    if (!lane.members.length) this.byKey.delete(lane.key)
  }

  #laneFor(workload: Workload, gang: Gang): Lane {
    const pool: Pool = gang.gpus > 0 ? 'gpu' : 'cpu'
    const { owner: user, team } = workload
    const key = [pool, workload.priority, team ?? '', user, gang.family].join('\n')
    let lane = this.byKey.get(key)
    if (!lane) {
      lane = {
        key,
        pool,
        rank: rankOf(workload),
        team: team ?? '',
        user,
        family: gang.family,
        members: [],
        shortest: Infinity,
        told: null,
      }
      this.byKey.set(key, lane)
    }
    return lane
  }
}

/** Where it stands among entries sorted by age, or would. */
function placeOf(members: readonly Entry[], workload: Workload): number {
  let [low, high] = [0, members.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const other = members[middle]?.workload
    if (other && before(other, workload)) low = middle + 1
    else high = middle
  }
  return low
}

const liftAfterMs = 48 * 3600_000
/**
 * From then on, whoever of a class has waited longest goes first, whatever its owner has had, if it has waited clearly
 * longer than is usual: by shares alone a large gang of somebody who had much finds others ahead for days, and never
 * gets room kept. Where everybody waits so long, more is asked for than there is, and shares decide.
 */
const eldestAfterMs = 12 * 3600_000
const timesUsual = 1.5

/** Of somebody, by weight: what was used so far. */
export interface Shares {
  readonly team: (team: string) => number
  readonly user: (user: string) => number
  /** Has it had more than its part of what all had? Then age lifts nothing: it waits because it was served. */
  readonly overserved: (team: string, user: string) => boolean
}

export interface Turn {
  readonly lane: Lane
  at: number
  head: Entry
}
interface Served {
  readonly name: string
  share: number
}
type UserTurns = Served & { readonly turns: Turn[] }
type TeamTurns = Served & { readonly users: Map<string, UserTurns> }

/**
 * Whose turn it is: the higher class; in it the one that has waited longest, once that is half a day; then the team that
 * had least by its share; in that the user; then the oldest. After 48 h of waiting a workload counts as one class higher.
 */
export class Turns {
  readonly #classes: Map<string, TeamTurns>[] = []
  readonly #shares: Shares
  readonly #now: number
  /** By rank: one at a time, so that what is due to others is hardly touched. */
  readonly #eldest: (Turn | undefined)[] = []
  /** What was placed in this pass, by `team:` and `user:`. */
  readonly #charged = new Map<string, number>()

  constructor(lanes: Iterable<Lane>, shares: Shares, now: number) {
    this.#shares = shares
    this.#now = now
    for (const lane of lanes) {
      const head = lane.members[0]
      if (head) this.#enter({ lane, at: 0, head })
    }
    const turns = this.#turns()
    const waits = turns.map(({ head }) => now - head.createdAt).toSorted((a, b) => a - b)
    const usual = waits[Math.floor(waits.length / 2)] ?? 0
    for (const turn of turns) this.#mayBeEldest(turn, Math.max(eldestAfterMs, timesUsual * usual))
  }

  #turns(): Turn[] {
    const teams = this.#classes.flatMap((byName) => [...(byName?.values() ?? [])])
    return teams.flatMap(({ users }) => [...users.values()].flatMap(({ turns }) => turns))
  }

  /** Of its own class, or of the one above once it has waited long enough for that: here it does not count who had much. */
  #mayBeEldest(turn: Turn, bound: number): void {
    const waited = this.#now - turn.head.createdAt
    if (waited < bound) return
    const rank = waited < liftAfterMs ? turn.lane.rank : turn.lane.rank + 1
    const other = this.#eldest[rank]
    if (!other || before(turn.head.workload, other.head.workload)) this.#eldest[rank] = turn
  }

  #hadTurn(turn: Turn): void {
    for (const [rank, eldest] of this.#eldest.entries()) if (eldest === turn) this.#eldest[rank] = undefined
  }

  /** The turn stays until it is skipped or ended. */
  next(): Turn | undefined {
    for (let rank = priorityClasses.length; rank >= 0; rank--) {
      const eldest = this.#eldest[rank]
      if (eldest) return eldest
      const teams = this.#classes[rank]
      if (!teams?.size) continue
      const user = least(least(teams.values())?.users.values() ?? [])
      return user?.turns.reduce((first, turn) =>
        before(turn.head.workload, first.head.workload) ? turn : first,
      )
    }
    return undefined
  }

  /** On to the next of the lane, or to the next that is not passed over. */
  skip(turn: Turn, isPassed?: (entry: Entry) => boolean): void {
    this.#hadTurn(turn)
    const { lane } = turn
    let at = turn.at + 1
    let next = lane.members[at]
    while (next && isPassed?.(next)) next = lane.members[++at]
    if (next && this.#rankOf(next, lane) === this.#rankOf(turn.head, lane)) {
      turn.at = at
      turn.head = next
      return
    }
    this.end(turn)
    if (next) this.#enter({ lane, at, head: next })
  }

  /** Nothing more of this lane. */
  end(turn: Turn): void {
    this.#hadTurn(turn)
    const teams = this.#classes[this.#rankOf(turn.head, turn.lane)]
    const team = teams?.get(turn.lane.team)
    const user = team?.users.get(turn.lane.user)
    if (!teams || !team || !user) return
    user.turns.splice(user.turns.indexOf(turn), 1)
    if (!user.turns.length) team.users.delete(user.name)
    if (!team.users.size) teams.delete(team.name)
  }

  /** What was placed counts at once, or whoever is behind would get everything that is free. */
  charge({ team, user }: Lane, teamShare: number, userShare: number): void {
    this.#charged.set(`team:${team}`, this.#chargedTo('team', team) + teamShare)
    this.#charged.set(`user:${user}`, this.#chargedTo('user', user) + userShare)
    for (const teams of this.#classes) {
      const served = teams?.get(team)
      if (served) served.share += teamShare
      for (const other of teams?.values() ?? []) {
        const same = other.users.get(user)
        if (same) same.share += userShare
      }
    }
  }

  #chargedTo(kind: 'team' | 'user', name: string): number {
    return this.#charged.get(`${kind}:${name}`) ?? 0
  }

  #rankOf({ createdAt }: Entry, { team, user, rank }: Lane): number {
    const old = this.#now - createdAt >= liftAfterMs
    return old && !this.#shares.overserved(team, user) ? rank + 1 : rank
  }

  #enter(turn: Turn): void {
    const { team, user } = turn.lane
    const teams = (this.#classes[this.#rankOf(turn.head, turn.lane)] ??= new Map<string, TeamTurns>())
    let inTeam = teams.get(team)
    if (!inTeam)
      teams.set(
        team,
        (inTeam = {
          name: team,
          share: this.#shares.team(team) + this.#chargedTo('team', team),
          users: new Map(),
        }),
      )
    let ofUser = inTeam.users.get(user)
    if (!ofUser)
      inTeam.users.set(
        user,
        (ofUser = { name: user, share: this.#shares.user(user) + this.#chargedTo('user', user), turns: [] }),
      )
    ofUser.turns.push(turn)
  }
}

function least<T extends Served>(all: Iterable<T>): T | undefined {
  let first: T | undefined
  for (const one of all)
    if (!first || one.share < first.share || (one.share === first.share && one.name < first.name)) first = one
  return first
}
