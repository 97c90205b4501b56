import type { PricesRow, State, TaskRow } from '../state.ts'

/** The only row of the `prices` table. */
export const thePrices = 'self'
const hour = 3600
const GiB = 1024 ** 3

export const free: Omit<PricesRow, 'resource_version'> = {
  currency: 'EUR',
  gpu: 0,
  gpu_models: {},
  cpu: 0,
  memory_gib: 0,
}

type Holding = Pick<TaskRow, 'resources' | 'gpus' | 'gpu' | 'node'>

/**
 * How much of whole GPUs a task holds: a share or a slice counts by its memory. Devices that their node does not
 * show any more count whole.
 */
export function wholeGpus(state: Pick<State, 'nodes'>, task: Holding): number {
  return devicesOf(state, task).reduce((sum, { part }) => sum + part, 0)
}

/** What a task costs a second, in the cluster's currency. */
export function moneyPerSecond(state: Pick<State, 'nodes' | 'prices'>, task: Holding): number {
  const prices = state.prices.get(thePrices)
  if (!prices) return 0
  const { cpu, memory } = task.resources
  const gpus = devicesOf(state, task).reduce((sum, { model, part }) => sum + part * priceOf(prices, model), 0)
  return (gpus + cpu * prices.cpu + (memory / GiB) * prices.memory_gib) / hour
}

/** The price of the longest name that is part of the model's, else that of any GPU. */
function priceOf({ gpu, gpu_models }: Pick<PricesRow, 'gpu' | 'gpu_models'>, model: string): number {
  const known = model.toLowerCase()
  const [best] = Object.keys(gpu_models)
    .filter((name) => known.includes(name.toLowerCase()))
    .toSorted((a, b) => b.length - a.length || (a < b ? -1 : 1))
  return best === undefined ? gpu : (gpu_models[best] ?? gpu)
}

function devicesOf({ nodes }: Pick<State, 'nodes'>, task: Holding): { model: string; part: number }[] {
  const known = new Map(nodes.get(task.node ?? '')?.inventory?.gpus?.map((gpu) => [gpu.uuid, gpu]))
  return task.gpus.map((uuid) => {
    const device = known.get(uuid)
    const whole = device?.mig ? known.get(device.mig.parent) : device
    const held = device?.mig ? device.memory : (task.gpu?.share ?? whole?.memory ?? 0)
    const part = whole && whole.memory > 0 ? Math.min(1, held / whole.memory) : 1
    return { model: device?.model ?? '', part }
  })
}
