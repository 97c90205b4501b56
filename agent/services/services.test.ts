import { afterEach, describe, expect, it } from 'vitest'
import { type Actor, Cluster, Node } from '../../contract/index.ts'
import { fingerprint } from '../cluster/identity/ca.ts'
import { parseJoinToken } from '../cluster/identity/join-token.ts'
import { sha256Of } from '../cluster/identity/seal.ts'
import { createServices, type Services } from './index.ts'
import { admin, GiB, World } from './testing/world.ts'

let world: World
let services: Services
async function start(nodes: number) {
  world = await World.create(nodes)
  services = createServices(world.deps())
}
afterEach(async () => {
  services.close()
  await world.close()
})
const strong = { consistency: 'strong' } as const
const page = { ...strong, page_size: 100 }
const live = (node: string, liveness: 'ready' | 'unreachable', disk_low = false) =>
  world.log.liveness.set(node, {
    liveness,
    silent_ms: 0,
    usage: {
      at: '2026-03-01T08:00:00.000Z', cpu_percent: 1, memory_used: 1, memory_total: 2, disk_free: 1, disk_total: 2,
      load1: 0, gpus: [], disk_low,
    },
  }) // prettier-ignore

describe('the cluster', () => {
  it('of one host says that it may not fail', async () => {
    await start(1)
    const { warnings, may_fail, voters } = await services.cluster.get(admin, strong)
    expect([may_fail, voters]).toEqual([0, 1])
    expect(warnings).toEqual([expect.stringMatching(/^host-1 is the only host: it may not fail/)])
  })

  it('of two hosts says which one may not, and what the other keeps', async () => {
    await start(2)
    const { warnings } = await services.cluster.get(admin, strong)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/^host-1 is the only voter and may not fail.*host-2 keeps a full copy/)
  })

  it('of three has nothing to warn of until a voter is silent, a disk full, the leader gone', async () => {
    await start(3)
    for (const node of ['node-1', 'node-2', 'node-3']) live(node, 'ready')
    const healthy = Cluster.parse(await services.cluster.get(admin, strong))
    expect([healthy.warnings, healthy.may_fail]).toEqual([[], 1])
    expect(
      healthy.members.map(({ name, role, leader, reachable }) => [name, role, leader, reachable]),
    ).toEqual([
      ['host-1', 'voter', true, true],
      ['host-2', 'voter', false, true],
      ['host-3', 'voter', false, true],
    ])
    live('node-3', 'unreachable')
    live('node-2', 'ready', true)
    const { warnings } = await services.cluster.get(admin, strong)
    expect(warnings).toEqual([
      expect.stringMatching(/^host-3 cannot be reached: no further voter may fail/),
      expect.stringMatching(/^The disk of host-2 is nearly full/),
    ])
    world.log.setLeader(null)
    const stale = await services.cluster.get(admin, { consistency: 'local' })
    expect(stale.warnings[0]).toMatch(/^There is no leader: nothing can be changed until 2 of the 3 voters/)
    expect(stale.leader).toBeNull()
  })

  it('gives a join token that says where, who and how long', async () => {
    await start(2)
    const { token, expires_at } = await services.cluster.createJoinToken(admin)
    const { addresses, ca_sha256, secret } = parseJoinToken(token)
    expect(addresses.toSorted()).toEqual(['10.0.0.1:7460', '10.0.0.2:7460'])
    expect(ca_sha256).toBe(fingerprint(services.cluster.ca()))
    expect(services.cluster.version()).toMatchObject({ ca_sha256, node: { name: 'host-1' }, demo: false })
    expect(world.log.state.joinTokens.get(sha256Of(secret))).toMatchObject({ expires_at })
  })
})

describe('nodes', () => {
  it('show what their tasks hold', async () => {
    await start(2)
    world.report('node-2', { gpuIds: ['GPU-a'] })
    world.submit('exp-1', { replicas: 3 })
    world.run('exp-1', 'node-2')
    live('node-2', 'ready')
    const { items } = await services.nodes.list(admin, page)
    for (const item of items) Node.parse(item)
    expect(items.map((node) => [node.name, node.tasks, node.allocated.cpu, node.allocated.memory, node.liveness])).toEqual([
      ['host-1', 0, 0, 0, 'unknown'],
      ['host-2', 3, 3, 3 * GiB, 'ready'],
    ]) // prettier-ignore
    await expect(services.nodes.get(admin, 'host-9', strong)).rejects.toMatchObject({
      code: 'not_found',
      hint: 'See `submarine node list`.',
    })
  })

  it('that the log calls silent are so, whatever an older table of this agent still says', async () => {
    await start(2)
    live('node-2', 'ready')
    const actor = { kind: 'system' } as const
    world.log.propose({ type: 'node.liveness', node: 'node-2', unreachable: true, silent_ms: 8000 }, actor)
    const node = await services.nodes.get(admin, 'node-2', strong)
    expect(node.unreachable_since).not.toBeNull()
    expect(node.liveness).toBe('unreachable')
  })
})

describe('events', () => {
  it('of an experiment are oldest first, of the cluster newest first, page by page', async () => {
    await start(1)
    world.submit('exp-1')
    world.submit('exp-2')
    world.run('exp-1')
    const codes: string[] = []
    let token: string | null | undefined
    do {
      const query = { ...strong, page_size: 2, ...(token ? { page_token: token } : {}) }
      const part = await services.events.ofExperiment(admin, 'exp-1', query)
      codes.push(...part.items.map((event) => event.code))
      token = part.next_page_token
    } while (token)
    expect(codes).toEqual(
      world.log.events.filter((event) => event.subject.id.startsWith('exp-1')).map((event) => event.code),
    )
    const { items } = await services.events.list(admin, { ...strong, page_size: 3 })
    expect(items).toEqual(world.log.events.slice(-3).reverse())
    const foreign = services.events.list(admin, { ...strong, page_size: 3, page_token: 'e30' })
    await expect(foreign).rejects.toMatchObject({ errors: [{ pointer: '/query/page_token' }] })
  })
})

describe('artifacts', () => {
  const files = (from: number, count: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, at) => [`f/${String(from + at).padStart(4, '0')}`, `${at}`]),
    )

  it('of several tasks come in pages that fit together, whatever their size', async () => {
    await start(2)
    const tasks = world.submit('exp-1', { replicas: 3 })
    world.run('exp-1')
    for (const [at, task] of tasks.entries())
      world.finish(task, at === 1 ? {} : { artifacts: world.keep(files(at * 100, 37)) })
    const whole = await services.artifacts.list(admin, 'exp-1', page)
    expect(whole.items).toHaveLength(74)
    expect(whole.items[0]).toMatchObject({ task: tasks[0], path: 'f/0000', attempt: 1, copies: 2 })
    for (const page_size of [1, 7, 37, 74]) {
      const paths: string[] = []
      let token: string | null | undefined
      do {
        const part = await services.artifacts.list(admin, 'exp-1', {
          page_size,
          ...(token ? { page_token: token } : {}),
        })
        expect(part.items.length).toBeGreaterThan(0)
        paths.push(...part.items.map((item) => item.path))
        token = part.next_page_token
      } while (token)
      expect(paths).toEqual(whole.items.map((item) => item.path))
    }
    const one = await services.artifacts.list(admin, 'exp-1', { ...page, task: 'worker-2' })
    expect(one.items.map((item) => item.task)).toEqual(Array.from({ length: 37 }, () => tasks[2]))
  })

  it('of a task that left none are none, and a page of a replaced list is refused', async () => {
    await start(1)
    const [task = ''] = world.submit('exp-1')
    expect((await services.artifacts.list(admin, 'exp-1', page)).items).toEqual([])
    world.run('exp-1')
    world.finish(task, { artifacts: world.keep(files(0, 5)) })
    const { next_page_token } = await services.artifacts.list(admin, 'exp-1', { page_size: 2 })
    const cursor = JSON.parse(Buffer.from(next_page_token ?? '', 'base64url').toString()) as object
    const other = Buffer.from(JSON.stringify({ ...cursor, manifest: 'a'.repeat(64) })).toString('base64url')
    const stale = services.artifacts.list(admin, 'exp-1', { page_size: 2, page_token: other })
    await expect(stale).rejects.toMatchObject({ code: 'invalid_request' })
  })
})

describe('who may not know an experiment', () => {
  const task = (workload: string): Actor => ({
    kind: 'task',
    task: `${workload}-worker-0`,
    workload,
    attempt: 1,
  })
  it('gets the answer for none, and a list without it', async () => {
    await start(1)
    world.submit('exp-1', { name: 'secret' })
    world.submit('exp-2', { name: 'own' })
    const own = task('exp-2')
    const { items } = await services.experiments.list(own, page)
    expect(items.map((item) => item.id)).toEqual(['exp-2'])
    const none = await services.experiments.get(own, 'exp-none', strong).catch((error: unknown) => error)
    for (const ref of ['exp-1', 'secret'])
      await expect(services.experiments.get(own, ref, strong)).rejects.toMatchObject({
        code: 'not_found',
        message: (none as Error).message.replace('exp-none', ref),
      })
    await expect(services.experiments.stop(own, 'exp-1')).rejects.toMatchObject({ code: 'not_found' })
    await expect(services.experiments.stop(own, 'exp-2')).rejects.toMatchObject({ code: 'forbidden' })
    await expect(services.experiments.delete(own, 'exp-2')).rejects.toMatchObject({ code: 'forbidden' })
    await expect(services.experiments.create(own, {}, { dryRun: true })).rejects.toMatchObject({
      code: 'forbidden',
    })
  })

  it('is everybody before sign-in', async () => {
    await start(1)
    const nobody: Actor = { kind: 'anonymous' }
    await expect(services.experiments.list(nobody, page)).rejects.toMatchObject({ code: 'unauthenticated' })
    await expect(services.experiments.get(nobody, 'x', strong)).rejects.toMatchObject({
      code: 'unauthenticated',
    })
    await expect(services.nodes.list(nobody, page)).rejects.toMatchObject({ code: 'unauthenticated' })
  })
})

describe('editing', () => {
  it('is the admin’s, and not a task’s; the answer is the experiment as it is then', async () => {
    await start(2)
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    const own: Actor = { kind: 'task', task, workload: 'exp-1', attempt: 1 }
    const patch = { description: 'good', tags: { seed: '7' } }
    await expect(services.experiments.edit(own, 'exp-1', patch)).rejects.toMatchObject({ code: 'forbidden' })
    const { resource_version } = await services.experiments.get(admin, 'exp-1', strong)
    const edited = await services.experiments.edit(admin, 'exp-1', patch, resource_version)
    expect(edited).toMatchObject({ ...patch, state: 'Running' })
    expect(await services.experiments.get(admin, 'exp-1', strong)).toEqual(edited)
    await expect(services.experiments.edit(admin, 'exp-1', {}, resource_version)).rejects.toMatchObject({
      code: 'precondition_failed',
    })
    await expect(services.experiments.edit(admin, 'exp-9', patch)).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})

describe('stopping and deleting', () => {
  it('follow the state: what runs is stopped, what ended is deleted', async () => {
    await start(1)
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await expect(services.experiments.delete(admin, 'exp-1')).rejects.toMatchObject({ code: 'conflict' })
    expect(await services.experiments.stop(admin, 'exp-1')).toMatchObject({
      state: 'Running',
      stop_requested: true,
    })
    world.finish(task)
    expect(await services.experiments.stop(admin, 'exp-1')).toMatchObject({ stop_requested: true })
    const [other = ''] = world.submit('exp-2')
    world.run('exp-2')
    world.finish(other)
    await expect(services.experiments.stop(admin, 'exp-2')).rejects.toMatchObject({ code: 'conflict' })
    const { resource_version } = await services.experiments.get(admin, 'exp-1', strong)
    await expect(services.experiments.delete(admin, 'exp-1', resource_version - 1)).rejects.toMatchObject({
      code: 'precondition_failed',
    })
    await services.experiments.delete(admin, 'exp-1', resource_version)
    await expect(services.experiments.get(admin, 'exp-1', strong)).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})
