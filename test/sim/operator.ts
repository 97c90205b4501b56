import { members } from '../../raft/confchange.ts'
import type { RaftDriver } from '../../raft/driver.ts'
import { EMPTY_CONF, RaftError, type ConfChangeItem, type NodeId } from '../../raft/types.ts'
import type { Machine } from './machine.ts'
import type { World } from './world.ts'

const MOST = 7
const LEAST = 3
/** A removed member keeps running so long, for those who have not heard of its removal. */
const KEPT_MS = 8_000

export interface Fleet {
  readonly machines: ReadonlyMap<NodeId, Machine>
  /** A new machine with an empty disk, under an id never used before. */
  add(): Machine
}

/** Somebody who changes the members, replaces the ones that are damaged, and asks for transfers. One thing at a time. */
export class Operator {
  readonly #world: World
  readonly #fleet: Fleet
  #busy = false
  readonly #members: Set<NodeId>
  /** Only what is needed: no more changes for their own sake. */
  tidying = false
  /** Nobody is damaged while the outcome of a change is open. */
  get idle(): boolean {
    return !this.#busy
  }

  constructor(world: World, fleet: Fleet, founders: readonly NodeId[]) {
    this.#world = world
    this.#fleet = fleet
    this.#members = new Set(founders)
  }

  start(everyMs: number): void {
    const { operator } = this.#world.rng
    this.#world.clock.schedule(operator.float() * 2 * everyMs, () => {
      this.start(everyMs)
      const leader = this.leader()
      if (this.#busy || !leader?.life?.alive) return
      this.#busy = true
      const over = () => (this.#busy = false)
      leader.life.onDeath(over)
      leader.life.enter(() => void this.#act(leader).then(over))
    })
  }

  /** Of several that believe it, the one of the highest term. */
  leader(): Machine | undefined {
    let best: { m: Machine; term: number } | undefined
    for (const m of this.#fleet.machines.values()) {
      const status = m.leads ? m.driver?.status() : undefined
      if (status && status.term > (best?.term ?? 0)) best = { m, term: status.term }
    }
    return best?.m
  }

  async #act(leader: Machine): Promise<void> {
    const { driver } = leader
    if (!driver) return
    const { operator } = this.#world.rng
    try {
      const broken = this.#broken(leader)
      if (!this.tidying && broken.length === 0 && operator.chance(0.25)) {
        await this.#transfer(leader)
        return
      }
      const changes = this.#changes(leader, broken)
      if (changes.length === 0) return
      await this.#change(driver, changes)
    } catch (e) {
      this.#refused(e)
    }
  }

  async #change(driver: RaftDriver, changes: ConfChangeItem[]): Promise<void> {
    this.#world.trace(() => `operator ${JSON.stringify(changes)}`)
    const conf = await driver.changeMembers({ changes }, { timeoutMs: 3000 })
    this.#world.count(changes.length > 1 ? 'some joint change done' : `some ${changes[0]?.type} done`)
    this.#retire(members(conf))
  }

  /** In a hurry: all of them at once, none waiting for another. */
  ask(leader: Machine, all: readonly ConfChangeItem[][]): void {
    const { life, driver } = leader
    if (this.#busy || !life?.alive || !driver) return
    this.#busy = true
    const over = () => (this.#busy = false)
    life.onDeath(over)
    life.enter(() => void Promise.all(all.map((changes) => this.#one(driver, changes))).then(over))
  }

  async #one(driver: RaftDriver, changes: ConfChangeItem[]): Promise<void> {
    try {
      await this.#change(driver, changes)
    } catch (e) {
      this.#refused(e)
    }
  }

  #refused(e: unknown): void {
    this.#world.count(`some change refused: ${e instanceof RaftError ? e.code : String(e)}`)
    if (!(e instanceof RaftError)) this.#world.fail(`a change of members failed with ${String(e)}`)
  }

  #broken(leader: Machine): NodeId[] {
    const conf = leader.conf ?? EMPTY_CONF
    return members(conf).filter((id) => this.#fleet.machines.get(id)?.doomed)
  }

  async #transfer(leader: Machine): Promise<void> {
    const voters = (leader.conf?.voters ?? []).filter((id) => id !== leader.id)
    if (voters.length === 0) return
    const to = this.#world.rng.operator.pick(voters)
    this.#world.count('some transfer asked')
    try {
      await leader.driver?.transferLeadership(this.#world.rng.operator.chance(0.7) ? to : undefined)
      this.#world.count('some transfer done')
    } catch (e) {
      if (e instanceof RaftError && e.code === 'timeout') this.#world.count('some transfer aborted')
      else throw e
    }
  }

  #changes(leader: Machine, broken: readonly NodeId[]): ConfChangeItem[] {
    const status = leader.driver?.status()
    if (!status) return []
    const { voters, learners } = status.conf
    const ready = learners.filter((id) => {
      const p = status.progress.get(id)
      return this.#fleet.machines.get(id)?.state === 'up' && p?.recentActive && p.state === 'replicate'
    })
    const size = voters.length + learners.length
    const { operator } = this.#world.rng
    // Whoever only might be damaged is not replaced yet, but nothing else is changed either.
    const gone = broken.find((id) => this.#fleet.machines.get(id)?.state === 'broken')
    if (gone === undefined && broken.length > 0) return []
    if (gone !== undefined) return this.#replace(gone, voters, learners, ready)
    if (this.tidying) return voters.length < LEAST && ready[0] ? [{ type: 'voter', id: ready[0] }] : []
    const dice = operator.float()
    if (ready[0] !== undefined && dice < 0.5) return [{ type: 'voter', id: operator.pick(ready) }]
    if (dice < 0.6 && size < MOST) return [{ type: 'learner', id: this.#newcomer() }]
    if (voters.length <= LEAST) return []
    const victim = operator.pick([...voters, ...learners])
    if (dice < 0.8) return [{ type: 'remove', id: victim }]
    if (dice < 0.9) return [{ type: 'learner', id: operator.pick(voters) }]
    return ready[0] !== undefined
      ? [
          { type: 'voter', id: ready[0] },
          { type: 'remove', id: victim },
        ]
      : []
  }

  /** A newcomer first, then it takes the place of the damaged one; nothing else meanwhile. */
  #replace(
    gone: NodeId,
    voters: readonly NodeId[],
    learners: readonly NodeId[],
    ready: readonly NodeId[],
  ): ConfChangeItem[] {
    const remove = { type: 'remove', id: gone } as const
    if (!voters.includes(gone)) return [remove]
    if (voters.length > LEAST) return [remove]
    if (ready[0] === undefined) {
      const coming = learners.some((id) => !this.#fleet.machines.get(id)?.doomed)
      return coming ? [] : [{ type: 'learner', id: this.#newcomer() }]
    }
    this.#world.count('some damaged member replaced')
    return this.#world.rng.operator.chance(0.5)
      ? [{ type: 'voter', id: ready[0] }, remove]
      : [{ type: 'voter', id: ready[0] }]
  }

  #newcomer(): NodeId {
    const m = this.#fleet.add()
    m.start()
    return m.id
  }

  #retire(staying: readonly NodeId[]): void {
    for (const id of staying) this.#members.add(id)
    for (const id of this.#members) {
      const m = this.#fleet.machines.get(id)
      if (staying.includes(id) || !m) continue
      this.#members.delete(id)
      this.#world.clock.schedule(KEPT_MS, () => {
        const conf = this.leader()?.conf
        if (conf && !members(conf).includes(m.id) && this.idle) m.retire()
      })
    }
  }
}
