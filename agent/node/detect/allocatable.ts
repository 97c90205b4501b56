import type { Inventory, Resources } from '../../../contract/index.ts'
import { isGpu } from './gpu-watch.ts'

/** What an admin gave an agent of its host, for agents that share one. */
export interface Share {
  readonly cpu?: number
  readonly memory?: number
  readonly gpus?: readonly string[]
}

export interface Allocatable {
  readonly resources: Resources
  /** UUIDs of the GPUs it may hand out: not sick ones, and slices in place of what they are cut from. */
  readonly gpus: readonly string[]
}

const reservedMemory = 2 * 1024 ** 3
const reservedCpu = 0.5

/**
 * What tasks may take of the host: what was detected minus a reserve for the host and its agent, or the explicit
 * share; never more than there is.
 */
export function allocatable(inventory: Inventory, share: Share = {}): Allocatable {
  const gpus = inventory.gpus
    .filter((gpu) => !gpu.fault && !gpu.mig_mode)
    .filter((gpu) => !share.gpus || share.gpus.some((given) => isGpu(given, gpu)))
    .map((gpu) => gpu.uuid)
  return {
    gpus,
    resources: {
      cpu: Math.min(share.cpu ?? withoutReserve(inventory.cpu.cores, reservedCpu), inventory.cpu.cores),
      memory: Math.floor(
        Math.min(
          share.memory ?? withoutReserve(inventory.memory, Math.max(reservedMemory, inventory.memory * 0.05)),
          inventory.memory,
        ),
      ),
      gpu: gpus.length,
      disk: Math.floor(inventory.disk.total * 0.9),
    },
  }
}

/** A small host keeps at least half for its tasks. */
function withoutReserve(total: number, reserve: number): number {
  return total - Math.min(reserve, total / 2)
}
