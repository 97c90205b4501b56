import { expect, it } from 'vitest'
import { World } from '../services/testing/world.ts'
import { Roster } from './roster.ts'

it('admits nodes, members of raft, and ids not handed out yet, and tells of who is gone once', async () => {
  const world = await World.create(3)
  const roster = new Roster(world.cluster)
  const gone: number[] = []
  roster.onGone((member) => gone.push(member))
  expect([1, 2, 3, 4, 99].map((member) => roster.admits(member))).toEqual([true, true, true, true, true])
  world.join('host-4', '10.0.0.4:7460')
  world.log.propose({ type: 'node.remove', node: 'node-3', force: false }, { kind: 'system' })
  world.log.setLeader('node-2')
  expect([1, 2, 3, 4, 5].map((member) => roster.admits(member))).toEqual([true, true, false, true, true])
  expect(gone).toEqual([3])
  // Late listeners hear of it too: an agent may be gone before it looks.
  roster.onGone((member) => gone.push(member))
  expect(gone).toEqual([3, 3])
  await world.close()
})

it('goes on to admit a removed member while raft still counts it', async () => {
  const world = await World.create(3)
  const usual = world.cluster.status()
  const roster = new Roster(world.cluster)
  world.cluster.status = () => ({ ...usual, voters: [1, 2], leaving: [1, 2, 3] })
  world.log.propose({ type: 'node.remove', node: 'node-3', force: false }, { kind: 'system' })
  expect(roster.admits(3)).toBe(true)
  world.cluster.status = () => ({ ...usual, voters: [1, 2] })
  expect(roster.admits(3)).toBe(false)
  await world.close()
})
