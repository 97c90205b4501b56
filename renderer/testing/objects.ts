/** Small objects of the contract for unit tests. */
import type { Experiment, Task } from '../../contract/objects.ts'
import type { Node, Usage } from '../../contract/nodes.ts'
import { parseSpec } from '../../contract/spec.ts'

const time = '2026-01-31T12:00:00.000Z'

export function task(more: Partial<Task> = {}): Task {
  return {
    id: 'exp-1-worker-0', workload: 'exp-1', role: 'worker', index: 0, state: 'Running', reason: null, attempt: 1,
    node: 'node-1', node_name: 'gpu-01', node_unreachable_since: null, runtime: 'docker', isolation: 'container', resources: { cpu: 1, memory: 2 ** 30, gpu: 0, disk: 0 },
    gpus: [], exit_code: null, started_at: time, finished_at: null, artifacts: null, log: null, resource_version: 1, ...more,
  } // prettier-ignore
}

export function experiment(more: Partial<Experiment> = {}): Experiment {
  const parsed = parseSpec({ name: 'digits', command: 'true', tags: ['demo'] })
  if ('errors' in parsed) throw new Error('the test spec is wrong')
  return {
    id: 'exp-1', name: 'digits', owner: 'admin', spec: parsed.spec, state: 'Running', reason: null,
    description: '', tags: {}, stop_requested: false, created_at: time, started_at: time, finished_at: null, tasks: [task()], resource_version: 1, ...more,
  } // prettier-ignore
}

export function usage(more: Partial<Usage> = {}): Usage {
  return {
    at: time, cpu_percent: 25, memory_used: 2 ** 30, memory_total: 2 ** 32, disk_free: 2 ** 33, disk_total: 2 ** 34,
    load1: 1, gpus: [], disk_low: false, ...more,
  } // prettier-ignore
}

export function node(more: Partial<Node> = {}): Node {
  return {
    id: 'node-1', name: 'gpu-01', member: 1, address: '10.0.0.5:7460', role: 'voter', liveness: 'ready', silent_ms: 100,
    unreachable_since: null, joined_at: time, inventory: null, allocatable: { cpu: 8, memory: 2 ** 32, gpu: 0, disk: 0 },
    allocated: { cpu: 2, memory: 2 ** 30, gpu: 0, disk: 0 }, gpus_held: [], tasks: 1, usage: null, resource_version: 1, ...more,
  } // prettier-ignore
}
