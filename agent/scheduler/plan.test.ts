import { Map as ImmutableMap } from 'immutable'
import { describe, expect, it } from 'vitest'
import type { Inventory, Resources, State as RunState } from '../../contract/index.ts'
import type { ExperimentRow, NodeRow, State, TaskRow } from '../cluster/state.ts'
import { emptyState } from '../cluster/transaction.ts'
import { plan, type Surroundings } from './plan.ts'
import { calm } from './surroundings.ts'

const GiB = 1024 ** 3
const ready: Surroundings = calm(Date.parse('2026-03-01T08:00:00Z'))

function node(member: number, cpu: number, gpus: string[] = [], inventory: Partial<Inventory> = {}): NodeRow {
  return {
    id: `node-${member}`, name: `host-${member}`, member, address: '', joined_at: '', gpus, resource_version: 1,
    allocatable: { cpu, memory: 8 * GiB, gpu: gpus.length, disk: 100 * GiB },
    inventory: { gpus: [], runtimes: ['docker'], default_image: 'base', ...inventory } as Inventory,
  } // prettier-ignore
}

function experiment(
  id: string,
  needs: Partial<Resources>[],
  more: { state?: RunState; image?: string; at?: string } = {},
) {
  const tasks = needs.map(
    (part, index): TaskRow => ({
      id: `${id}-worker-${index}`, workload: id, role: 'worker', index, state: more.state ?? 'Accepted', reason: null, attempt: 0,
      resources: { cpu: 1, memory: GiB, gpu: 0, disk: 0, ...part }, node: null, runtime: null, gpus: [], token_sha256: null,
      exit_code: null, started_at: null, finished_at: null, artifacts: null, log: null, metrics: null, resource_version: 1,
    }),
  ) // prettier-ignore
  const row = {
    id, name: id, owner: 'ana', state: more.state ?? 'Accepted', reason: null, stop_requested: false,
    created_at: more.at ?? id, started_at: null, finished_at: null, tasks: tasks.map((task) => task.id), resource_version: 1,
    spec: { name: id, type: 'script', tags: [], roles: { worker: { replicas: needs.length, command: ['x'], env: {}, ...(more.image ? { image: more.image } : {}) } } },
  } as unknown as ExperimentRow // prettier-ignore
  return { row, tasks }
}

function state(nodes: NodeRow[], experiments: ReturnType<typeof experiment>[]): State {
  return {
    ...emptyState,
    nodes: ImmutableMap(nodes.map((row) => [row.id, row])),
    experiments: ImmutableMap(experiments.map(({ row }) => [row.id, row])),
    tasks: ImmutableMap(experiments.flatMap(({ tasks }) => tasks.map((row) => [row.id, row] as const))),
  }
}

const where = (result: ReturnType<typeof plan>) =>
  Object.fromEntries(result.place.flatMap(({ placements }) => placements.map((p) => [p.task, p.node])))

describe('plan', () => {
  it('fills the first node that has room, then the next', () => {
    const result = plan(
      state([node(1, 2), node(2, 2)], [experiment('a', [{ cpu: 2 }]), experiment('b', [{ cpu: 1 }])]),
      ready,
    )
    expect(where(result)).toEqual({ 'a-worker-0': 'node-1', 'b-worker-0': 'node-2' })
  })

  it('places a gang whole or not at all', () => {
    const two = experiment('gang', [{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }])
    const result = plan(state([node(1, 2), node(2, 2)], [two, experiment('small', [{ cpu: 1 }])]), ready)
    expect(where(result)).toEqual({ 'small-worker-0': 'node-1' })
    expect(result.wait).toEqual([
      {
        workload: 'gang',
        reason: expect.objectContaining({
          code: 'no_room',
          message: expect.stringContaining('its 3 tasks start together, and there is room for 2'),
        }),
      },
    ])
  })

  it('says what each node lacks', () => {
    const result = plan(state([node(1, 2), node(2, 1)], [experiment('a', [{ cpu: 4, gpu: 1 }])]), ready)
    expect(result.wait[0]?.reason.message).toBe(
      'no node has room (host-1: 4 cores asked, 2 cores free; 1 GPU asked, 0 GPUs free; host-2: 4 cores asked, 1 core free; 1 GPU asked, 0 GPUs free)',
    )
  })

  it('gives out each GPU once, by UUID', () => {
    const needs = [{ gpu: 1 }]
    const result = plan(
      state(
        [node(1, 8, ['GPU-a', 'GPU-b'])],
        [experiment('a', needs), experiment('b', needs), experiment('c', needs)],
      ),
      ready,
    )
    expect(result.place.map(({ placements }) => placements[0]?.gpus)).toEqual([['GPU-a'], ['GPU-b']])
    expect(result.wait.map(({ workload }) => workload)).toEqual(['c'])
  })

  it('counts what running tasks hold', () => {
    const busy = experiment('busy', [{ cpu: 2 }], { state: 'Running' })
    const held = { ...busy, tasks: busy.tasks.map((task) => ({ ...task, node: 'node-1' })) }
    expect(
      where(plan(state([node(1, 2), node(2, 2)], [held, experiment('next', [{ cpu: 1 }])]), ready)),
    ).toEqual({ 'next-worker-0': 'node-2' })
  })

  it('leaves out nodes that are silent or short of disk, and says so', () => {
    const surroundings: Surroundings = {
      ...ready,
      liveness: (id) => (id === 'node-1' ? 'unreachable' : 'ready'),
      diskLow: (id) => id === 'node-2',
    }
    const result = plan(state([node(1, 2), node(2, 2)], [experiment('a', [{}])]), surroundings)
    expect(result.wait[0]?.reason.message).toBe('no node has room (host-1: is unreachable; host-2: disk low)')
  })

  it('runs a named image only in Docker, and no image where processes are allowed', () => {
    const nodes = [node(1, 2, [], { runtimes: ['process'], default_image: null }), node(2, 1)]
    const result = plan(
      state(nodes, [experiment('plain', [{}]), experiment('image', [{}], { image: 'python:3' })]),
      ready,
    )
    expect(
      result.place.map(({ placements }) => placements.map(({ node, runtime }) => [node, runtime])),
    ).toEqual([[['node-2', 'docker']], [['node-1', 'process']]]) // 'image' sorts before 'plain'
  })

  it('prefers the node that has the image already, however it is spelled', () => {
    const here = state(
      [node(1, 2), node(2, 2)],
      [experiment('a', [{}], { image: 'docker.io/library/python' })],
    )
    const images = (id: string) => new Set(id === 'node-2' ? ['python:latest'] : [])
    expect(where(plan(here, { ...ready, images }))).toEqual({ 'a-worker-0': 'node-2' })
    expect(where(plan(here, ready))).toEqual({ 'a-worker-0': 'node-1' })
  })

  it('takes the oldest first and skips what was asked to stop', () => {
    const stopping = experiment('a', [{ cpu: 2 }], { at: '1' })
    const stopped = { ...stopping, row: { ...stopping.row, stop_requested: true } }
    const result = plan(
      state(
        [node(1, 2)],
        [
          experiment('young', [{ cpu: 2 }], { at: '3' }),
          stopped,
          experiment('old', [{ cpu: 2 }], { at: '2' }),
        ],
      ),
      ready,
    )
    expect(where(result)).toEqual({ 'old-worker-0': 'node-1' })
  })
})
