import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ExperimentSpec, Usage } from '../../../contract/index.ts'
import { admin, GiB, World } from '../../services/testing/world.ts'
import { NodeWatch } from './watch.ts'

const minute = 60_000
let world: World
let watch: NodeWatch
let now: number
beforeEach(async () => {
  world = await World.create(1)
  world.report('node-1', { gpuIds: ['GPU-a', 'GPU-b'] })
  watch = newWatch()
  now = 0
})
afterEach(async () => {
  watch.stop()
  await world.close()
})

const newWatch = () =>
  new NodeWatch({
    cluster: world.cluster,
    log: { warn: (_, message) => expect.unreachable(message) },
    sinceRenewed: async () => Infinity,
    clock: () => now,
  })

const system = { kind: 'system' } as const
/** A task that runs on the GPUs. */
function run(gpus: string[], more: Partial<ExperimentSpec> = {}, attempt = 1): void {
  const resources = { cpu: 1, memory: GiB, gpu: gpus.length, disk: 0 }
  const roles = { worker: { replicas: 1, resources, command: ['true'], env: {} } }
  const spec: ExperimentSpec = { name: 'e', type: 'script', tags: [], roles, ...more }
  if (attempt === 1) world.log.propose({ type: 'experiment.create', id: 'e', spec, owner: 'admin' }, admin)
  const at = { task: 'e-worker-0', attempt, node: 'node-1' }
  world.log.propose(
    { type: 'workload.place', id: 'e', placements: [{ ...at, runtime: 'docker', gpus }] },
    system,
  )
  const started_at = '2026-03-01T08:00:00.000Z'
  world.log.propose(
    { type: 'task.report', ...at, state: 'Running', started_at },
    { kind: 'node', node: 'node-1' },
  )
}

/** The node is heard after so many minutes, with what its GPUs do; undefined: it is silent. */
async function after(minutes: number, used: Record<string, number | null> | undefined): Promise<string[]> {
  now += minutes * minute
  const gpus = Object.entries(used ?? {}).map(([uuid, utilization_percent]) => ({
    ...{ uuid, utilization_percent, memory_used: null, temperature_c: null, power_w: null },
  }))
  const usage = { gpus } as unknown as Usage
  const liveness = used ? ('ready' as const) : ('unreachable' as const)
  world.log.liveness.set('node-1', { liveness, silent_ms: 0, usage: used ? usage : null })
  const before = told().length
  await watch.look()
  return told().slice(before)
}
const told = (): string[] =>
  world.log.events.filter(({ code }) => code === 'task.idle').map(({ message }) => message)
const task = () => world.log.state.tasks.get('e-worker-0')

describe('the watch over GPUs that do nothing', () => {
  it('tells it once after ten minutes, and anew when they worked in between', async () => {
    run(['GPU-a', 'GPU-b'])
    expect(await after(0, { 'GPU-a': 0, 'GPU-b': 2 })).toEqual([])
    expect(await after(9.9, { 'GPU-a': 1, 'GPU-b': 0 })).toEqual([])
    expect(await after(0.1, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([
      'e-worker-0: its GPUs do nothing since 10m 0s',
    ])
    expect(await after(60, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([])
    expect(await after(1, { 'GPU-a': 0, 'GPU-b': 3 })).toEqual([])
    expect(await after(1, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([])
    expect(await after(10, { 'GPU-a': 0, 'GPU-b': 0 })).toHaveLength(1)
    expect(task()?.state).toBe('Running')
  })

  it('holds nothing against a task that was not measured: a silent node, a GPU without figures', async () => {
    run(['GPU-a', 'GPU-b'])
    expect(await after(0, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([])
    expect(await after(5, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([])
    const unknown: Parameters<typeof after>[1][] = [undefined, { 'GPU-a': 0, 'GPU-b': null }, { 'GPU-a': 0 }]
    for (const used of unknown) expect(await after(20, used)).toEqual([])
    expect(await after(4, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([])
    expect(await after(1, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([
      'e-worker-0: its GPUs do nothing since 10m 0s',
    ])
    // One that works is enough, whatever is known of the other.
    expect(await after(1, { 'GPU-a': 50, 'GPU-b': null })).toEqual([])
    expect(await after(9, { 'GPU-a': 0, 'GPU-b': 0 })).toEqual([])
  })

  it('stops it when its spec says so, also sooner than it would tell', async () => {
    run(['GPU-a'], { idle_stop_seconds: 120 })
    await after(0, { 'GPU-a': 0 })
    expect(await after(1.9, { 'GPU-a': 0 })).toEqual([])
    expect(task()?.evict).toBeFalsy()
    expect(await after(0.1, { 'GPU-a': 0 })).toEqual(['e-worker-0: its GPUs do nothing since 2m 0s'])
    expect(task()?.evict).toMatchObject({ cause: 'idle', then: 'stop' })
    expect(await after(60, { 'GPU-a': 0 })).toEqual([])
  })

  it('tells after ten minutes and stops later, where that is what its spec says', async () => {
    run(['GPU-a'], { idle_stop_seconds: 1800 })
    await after(0, { 'GPU-a': 0 })
    expect(await after(10, { 'GPU-a': 0 })).toHaveLength(1)
    expect(task()?.evict).toBeFalsy()
    expect(await after(20, { 'GPU-a': 0 })).toHaveLength(1)
    expect(task()?.evict).toMatchObject({ cause: 'idle' })
  })

  it('leaves tasks without GPUs alone, and counts anew for a leader in office', async () => {
    run(['GPU-a'])
    await after(0, { 'GPU-a': 0 })
    await after(9, { 'GPU-a': 0 })
    world.log.setLeader('node-9')
    expect(await after(9, { 'GPU-a': 0 })).toEqual([])
    world.log.setLeader('node-1')
    expect(await after(9, { 'GPU-a': 0 })).toEqual([])
    expect(await after(9, { 'GPU-a': 0 })).toEqual([])
    expect(await after(1, { 'GPU-a': 0 })).toHaveLength(1)
    world.submit('plain')
    world.run('plain')
    expect(await after(600, { 'GPU-a': 50 })).toEqual([])
  })

  it('looks with every heartbeat', async () => {
    run(['GPU-a'])
    await after(0, { 'GPU-a': 0 })
    now += 10 * minute
    world.cluster.peers.beat()
    await expect.poll(() => told().length).toBe(1)
  })
})
