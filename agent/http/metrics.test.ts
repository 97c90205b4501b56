import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Usage } from '../../contract/index.ts'
import { createMonitor, type Monitor } from '../monitoring/monitor.ts'
import { serve, type Served } from './testing/served.ts'
import { createCa } from '../cluster/identity/ca.ts'
import type { World } from '../services/testing/world.ts'

let served: Served
let world: World
let monitor: Monitor
let admin: Record<string, string>

const usage: Usage = {
  at: '2026-03-01T08:00:00.000Z', cpu_percent: 25, memory_used: 1, memory_total: 2, disk_free: 1, disk_total: 2, load1: 0.5, disk_low: false,
  gpus: [{ uuid: 'GPU-a', utilization_percent: 50, memory_used: 7, temperature_c: 60, power_w: null, processes: [{ pid: 7, user: 'eve', name: 'mine', memory: 5, kind: 'compute', task: null, blocking: true }] }],
} // prettier-ignore
const gpu = { uuid: 'GPU-a', index: 0, vendor: 'nvidia', model: 'A100', memory: 40 } as const

beforeAll(async () => {
  const { cert } = await createCa('lab')
  served = await serve({
    services: { families: () => monitor.families() },
    http: { answered: (request) => monitor.answered(request) },
  })
  world = served.world
  monitor = createMonitor({
    cluster: world.cluster,
    raftMetrics: () => ({ proposals: 3, syncs: 2, syncMsTotal: 5 }),
    usage: () => usage,
    certificate: () => cert,
    version: '0.1.0',
    now: () => world.now,
  })
  admin = { authorization: `Bearer ${world.signIn()}` }
  world.report('node-1', { gpuIds: ['GPU-a'], gpus: [gpu] })
})
afterAll(async () => {
  monitor.stop()
  await served.close()
})

const read = async (headers: Record<string, string>, accept = 'text/plain') => {
  const response = await served.fetch('/metrics', { headers: { ...headers, accept } })
  return { response, text: await response.text() }
}

async function monitorToken(): Promise<Record<string, string>> {
  const response = await served.fetch('/api/v2/monitor-tokens', {
    method: 'POST',
    headers: admin,
  })
  const { token } = (await response.json()) as { token: string }
  return { authorization: `Bearer ${token}` }
}

it('are told to who may know them', async () => {
  expect((await read({})).response.status).toBe(401)
  expect((await read({ authorization: 'Bearer sdc_wrong' })).response.status).toBe(401)
  expect((await read(admin)).response.status).toBe(200)
  world.submit('exp-1')
  const [task = ''] = world.run('exp-1')
  expect((await read({ authorization: `Bearer ${task}` })).response.status).toBe(403)
})

it('are what a monitor’s token reads, and nothing else', async () => {
  const token = await monitorToken()
  expect((await read(token)).response.status).toBe(200)
  expect((await served.fetch('/api/v2/nodes', { headers: token })).status).toBe(403)
  expect((await served.fetch('/api/v2/me', { headers: token })).status).toBe(403)
  const more = { method: 'POST', headers: token }
  expect((await served.fetch('/api/v2/monitor-tokens', more)).status).toBe(403)
  await served.fetch('/api/v2/monitor-tokens', { method: 'DELETE', headers: admin })
  expect((await read(token)).response.status).toBe(401)
  expect((await read(admin)).response.status).toBe(200)
})

it('end with the token’s time', async () => {
  const token = await monitorToken()
  const before = world.now
  world.now += 366 * 24 * 3600_000
  expect((await read(token)).response.status).toBe(401)
  world.now = before
})

it('come in the format that was asked for', async () => {
  expect((await read(admin)).response.headers.get('content-type')).toBe(
    'text/plain; version=0.0.4; charset=utf-8',
  )
  const open = await read(admin, 'application/openmetrics-text; version=1.0.0')
  expect(open.response.headers.get('content-type')).toMatch(/^application\/openmetrics-text/)
  expect(open.text).toMatch(/# EOF\n$/)
})

it('tell of requests by route, of the node, its GPUs and what tasks hold', async () => {
  await served.fetch('/api/v2/nodes/node-2', { headers: admin })
  const { text } = await read(admin)
  for (const line of [
    'submarine_http_request_duration_seconds_count{method="GET",route="/api/v2/nodes/:node",status="200"} 1',
    'submarine_raft_role{role="leader"} 1',
    'submarine_raft_log_sync_duration_seconds_sum 0.005',
    'submarine_node_cpu_utilization_ratio 0.25',
    'submarine_node_allocated_cpu_cores 1',
    'submarine_gpu_utilization_ratio{gpu="GPU-a"} 0.5',
    'submarine_gpu_held{gpu="GPU-a"} 0',
    'submarine_gpu_faulty{gpu="GPU-a"} 0',
    'submarine_gpu_blocked{gpu="GPU-a"} 1',
    'submarine_gpu_processes{gpu="GPU-a",whose="foreign"} 1',
    'submarine_gpu_foreign_memory_bytes{gpu="GPU-a"} 5',
    'submarine_task_cpu_cores{task="exp-1-worker-0",workload="exp-1",owner="admin"} 1',
  ])
    expect(text.split('\n')).toContain(line)
  expect(text).not.toContain('submarine_gpu_power_watts')
})

it('of the whole cluster come from its leader alone', async () => {
  world.submit('waiting')
  const { text } = await read(admin)
  expect(text.split('\n')).toEqual(
    expect.arrayContaining([
      'submarine_cluster_workloads{state="Running",queue="default",priority="normal"} 1',
      'submarine_cluster_workloads{state="Accepted",queue="default",priority="normal"} 1',
      'submarine_cluster_nodes{liveness="ready"} 0',
      'submarine_cluster_allocatable_gpus 1',
      'submarine_events_total{code="experiment.accepted"} 2',
    ]),
  )
  world.log.setLeader('node-2')
  const other = await read(admin)
  expect(other.text).not.toContain('submarine_cluster_')
  expect(other.text.split('\n')).toContain('submarine_raft_leader_changes_seen_total 1')
  world.log.setLeader('node-1')
})
