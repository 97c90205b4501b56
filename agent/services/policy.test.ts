import { beforeEach, describe, expect, it } from 'vitest'
import type { Actor, ProblemError } from '../../contract/index.ts'
import { uidOf } from '../cluster/people-ids.ts'
import { createExperiments } from './experiments.ts'
import { createPolicy } from './policy.ts'
import { admin, World } from './testing/world.ts'

let world: World
beforeEach(async () => {
  world = await World.create(2)
})
const policy = () => createPolicy(world.deps())
const experiments = () => createExperiments(world.deps())
const small = { command: 'true', resources: 'cpu=1, memory=1Gi' }
const nothing = { devices: [], capabilities: [], host_network: [], root: [] }
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    ({ code, message }: ProblemError) => `${code}: ${message}`,
  )

describe('the policy of containers', () => {
  it('allows nothing at first, and what an admin says then', async () => {
    const service = policy()
    expect(await service.get(admin, { consistency: 'strong' })).toEqual({ mounts: [], ...nothing })
    const made = { mounts: [{ path: '/data', read_only: true, for: ['user:admin'] }], ...nothing }
    await service.set(admin, made)
    expect(await service.get(admin, { consistency: 'strong' })).toEqual(made)
    expect(world.log.events.at(-1)).toMatchObject({ code: 'policy.changed', subject: { kind: 'cluster' } })
    const member: Actor = { kind: 'user', name: 'ben', rank: 'member' }
    expect(await service.get(member, { consistency: 'strong' })).toEqual(made)
    expect(await refusal(service.set(member, made))).toContain('forbidden')
  })

  it('is asked at every submit, a dry run too, and the refusal says what an admin would have to add', async () => {
    const spec = { name: 'x', ...small, mounts: ['/data'] }
    for (const dryRun of [true, false]) {
      const refused = await refusal(experiments().create(admin, spec, { dryRun }))
      expect(refused).toMatch(/^invalid_spec: .*does not allow admin to mount \/data.*"mounts"/)
    }
    expect(world.log.state.experiments.size).toBe(0)
    await policy().set(admin, { mounts: [{ path: '/data', read_only: true, for: ['*'] }], ...nothing })
    const made = await experiments().create(admin, spec, { dryRun: false })
    expect(made.spec.mounts).toEqual([{ path: '/data', target: '/data', read_only: true }])
  })

  it('containers of whoever is gone run as a user id of their name, which nobody is given', () => {
    expect(uidOf(world.log.state, 'admin')).toBe(20_000)
    expect(uidOf(world.log.state, 'somebody')).toBeGreaterThan(1_000_000_000)
    expect(uidOf(world.log.state, 'somebody')).not.toBe(uidOf(world.log.state, 'somebody-else'))
  })
})
