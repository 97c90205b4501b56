import { type Gpu, holdsResources, type Reason } from '../../../contract/index.ts'
import type { Command } from '../../cluster/commands.ts'
import type { State, TaskRow } from '../../cluster/state.ts'
import { endsTasks } from './nvidia-health.ts'

type Evict = Extract<Command, { type: 'workload.evict' }>

/** Devices under which a task cannot go on: sick ones, and those that were there and are not any more. */
export function brokenDevices(
  now: readonly Gpu[],
  before: readonly Gpu[],
  answered: (vendor: Gpu['vendor']) => boolean,
): Gpu[] {
  const known = new Set(now.map(({ uuid }) => uuid))
  const gone = before.filter((gpu) => !known.has(gpu.uuid) && answered(gpu.vendor))
  return [
    ...now.filter((gpu) => gpu.fault && endsTasks(gpu.fault)),
    ...gone.map(({ fault: _, ...gpu }) => gpu),
  ]
}

/** What a node asks for when devices fail under its tasks: each of them leaves, and its retries decide the rest. */
export function evictionsFor(state: Pick<State, 'tasks'>, node: string, broken: readonly Gpu[]): Evict[] {
  if (!broken.length) return []
  const byUuid = new Map(broken.map((gpu) => [gpu.uuid, gpu]))
  const evictions: Evict[] = []
  for (const task of state.tasks.values()) {
    if (task.node !== node || !holdsResources(task.state) || task.evict?.then === 'fail') continue
    const gpu = task.gpus.map((uuid) => byUuid.get(uuid)).find((one) => one !== undefined)
    if (gpu) evictions.push(evictionOf(task, gpu))
  }
  return evictions
}

function evictionOf(task: TaskRow, gpu: Gpu): Evict {
  const reason: Reason = {
    code: 'device_lost',
    message: `Its GPU ${gpu.index} (${gpu.model}, ${gpu.uuid}) failed: ${gpu.fault?.message ?? 'it is gone from the host'}.`,
  }
  return {
    type: 'workload.evict',
    id: task.workload,
    tasks: [task.id],
    eviction: { cause: 'device_lost', reason, then: 'fail' },
  }
}
