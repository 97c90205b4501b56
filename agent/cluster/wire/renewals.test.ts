import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { ProblemError } from '../../../contract/index.ts'
import type { ClusterStatus, PeerHandler, PeerRequest, PeerResponse } from '../cluster.ts'
import { nodeIdOf } from '../rules/members.ts'
import { isMajority, Renewals, Told, vouchedFor } from './renewals.ts'

test('a majority is one of each configuration', () => {
  expect(isMajority([[1, 2, 3]], new Set([1, 3]))).toBe(true)
  expect(isMajority([[1, 2, 3]], new Set([1, 4, 5]))).toBe(false)
  expect(isMajority([[1, 2, 3], [2, 3, 4]], new Set([1, 2]))).toBe(false) // prettier-ignore
  expect(isMajority([[1, 2, 3], [2, 3, 4]], new Set([2, 3]))).toBe(true) // prettier-ignore
  expect(isMajority([], new Set([1]))).toBe(false)
})

test('what a majority vouches for is the longest time that so many agree on', () => {
  const ages = new Map([[1, 50], [2, 10], [3, 30]]) // prettier-ignore
  expect(vouchedFor([[1, 2, 3]], ages)).toBe(30)
  expect(vouchedFor([[1, 2, 3], [2, 4, 5]], ages)).toBe(0) // prettier-ignore
  expect(vouchedFor([[1]], ages)).toBe(50)
})

test('what was told before a restart counts as told at the restart', () => {
  const told = new Told(1_000)
  expect(told.age('node-4', 5_000)).toBe(4_000)
  told.tell('node-4', 4_500)
  expect(told.age('node-4', 5_000)).toBe(500)
  expect(told.age('node-5', 5_000)).toBe(4_000)
})

/** Members whose requests go straight to each other's handlers, on one clock that the test moves. */
class World {
  now = 1_000
  readonly down = new Set<number>()
  readonly members: readonly Renewals[]
  readonly #statuses = new Map<number, ClusterStatus>()
  readonly #listeners = new Map<number, (status: ClusterStatus) => void>()
  readonly #handlers = new Map<string, PeerHandler>()

  /** These have heard the leader since they started. */
  constructor(led = [1, 2, 3, 4]) {
    this.members = [1, 2, 3, 4].map((member) => this.#start(member))
    for (const member of led) this.becomes(member, { leader: 'node-1' })
  }

  becomes(member: number, change: Partial<ClusterStatus>): void {
    const status = { ...(this.#statuses.get(member) as ClusterStatus), ...change }
    this.#statuses.set(member, status)
    this.#listeners.get(member)?.(status)
  }

  /** Nobody leads, as far as these know. */
  leaderless(...members: number[]): void {
    for (const member of members) this.becomes(member, { leader: null, isLeader: false })
  }

  asks(member: number): Promise<number | undefined> {
    return (this.members[member - 1] as Renewals).ask()
  }

  sinceRenewed(member: number, node: string): Promise<number> {
    return (this.members[member - 1] as Renewals).sinceRenewed(node)
  }

  #start(member: number): Renewals {
    const status = { leader: null, isLeader: false, term: 1, commit: 1, applied: 1, voters: [1, 2, 3], learners: [4], leaving: [] } // prettier-ignore
    this.#statuses.set(member, status)
    return new Renewals({
      cluster: {
        self: { node: nodeIdOf(member), member },
        status: () => this.#statuses.get(member) as ClusterStatus,
        onStatus: (listener) => {
          this.#listeners.set(member, listener)
          return () => this.#listeners.delete(member)
        },
        peers: {
          request: (to, request) => this.#carry(member, to, request),
          serve: (path, handler) => void this.#handlers.set(`node-${member}${path}`, handler),
        },
      },
      clock: () => this.now,
    })
  }

  async #carry(from: number, to: string, request: PeerRequest): Promise<PeerResponse> {
    const handler = this.#handlers.get(`${to}${request.path}`)
    if (!handler || this.down.has(Number(to.slice(5)))) throw new ProblemError('node_unreachable')
    let answer = ''
    const incoming = Readable.from([Buffer.from(request.body as string)])
    const response = { end: (body: string) => (answer = body) }
    await handler(nodeIdOf(from), incoming as Parameters<PeerHandler>[1], response as never)
    return { status: 200, headers: {}, body: Readable.from([Buffer.from(answer)]) }
  }
}

test('a node renews its leases as of its asking when a majority of the voters knows no leader', async () => {
  const world = new World()
  world.leaderless(4)
  world.now = 9_000
  expect(await world.asks(4)).toBeUndefined()
  world.leaderless(2)
  expect(await world.asks(4)).toBeUndefined()
  world.leaderless(3)
  expect(await world.asks(4)).toBe(9_000)
  world.down.add(1)
  expect(await world.asks(4)).toBe(9_000)
  world.down.add(2)
  expect(await world.asks(4)).toBeUndefined()
})

test('a leader that was out of touch hears of the renewal from whatever majority it asks', async () => {
  const world = new World()
  world.now = 60_000
  world.leaderless(2, 3, 4)
  await world.asks(4)
  world.now = 70_000
  // In office all the while: it takes up again with one of them.
  world.becomes(2, { leader: 'node-1' })
  world.down.add(3)
  expect(await world.sinceRenewed(1, 'node-4')).toBe(10_000)
  expect(await world.sinceRenewed(1, 'node-3')).toBe(69_000)
  world.down.add(2)
  expect(await world.sinceRenewed(1, 'node-4')).toBe(0)
})

test('voters that were just changed vouch for nothing before the change, and who knows of it asks both halves', async () => {
  const world = new World()
  world.now = 60_000
  world.becomes(1, { voters: [1, 2, 4] })
  world.now = 65_000
  expect(await world.sinceRenewed(1, 'node-3')).toBe(5_000)
  world.leaderless(2, 3, 4)
  world.becomes(2, { voters: [1, 2, 4], leaving: [1, 2, 3] })
  world.down.add(1)
  // The asker, who is behind, counts 2 and 3 of [1, 2, 3]; 2 knows of [1, 2, 4] too.
  expect(await world.asks(3)).toBeUndefined()
})

test('a voter that has heard of no leader since its start confirms nothing', async () => {
  const world = new World([1, 2, 4])
  world.leaderless(2, 4)
  expect(await world.asks(4)).toBeUndefined()
  world.leaderless(1)
  expect(await world.asks(4)).toBe(1_000)
})
