import type { Gpu, Reason } from '../../contract/index.ts'
import type { NodeRow, TaskRow } from '../cluster/state.ts'
import type { Surroundings } from './surroundings.ts'

/** A GPU, or a slice of one, that a node may hand out. */
export interface Device {
  readonly uuid: string
  readonly gpu: Gpu | undefined
  /** Equal for devices that no need or constraint can tell apart. */
  readonly kind: number
  /** Tasks that have it. More than one only when it is shared. */
  holders: number
  /** Bytes promised of a shared one. */
  promised: number
  blocked: Reason | null
}

/** A node as the planner sees it: what is left of it. Thousandths of a core, bytes. */
export interface Site {
  readonly index: number
  row: NodeRow
  cpu: number
  memory: number
  disk: number
  /** Devices that nobody has. */
  gpu: number
  devices: Device[]
  /** Why it takes nothing at all; null when it does. */
  closed: Reason | null
  readonly holders: Map<string, TaskRow>
  /** Grows with each change of its row or of who holds what; what is tried on it does not count. */
  version: number
  /** Some of its devices are blocked. */
  blocked: boolean
}

/** What of a site a gang may use, where some of it is kept for others. */
export interface Bound {
  readonly cpu: number
  readonly memory: number
  readonly disk: number
  readonly gpu: number
  /** Devices that are kept for others. */
  readonly without: ReadonlySet<string>
}

export function newSite(index: number, row: NodeRow, kindOf: (gpu: Gpu | undefined) => number): Site {
  const site: Site = {
    index, row, cpu: 0, memory: 0, disk: 0, gpu: 0, devices: [], closed: null, holders: new Map(), version: 0, blocked: false,
  } // prettier-ignore
  setRow(site, row, kindOf)
  return site
}

export function setRow(site: Site, row: NodeRow, kindOf: (gpu: Gpu | undefined) => number): void {
  const { cpu = 0, memory = 0, disk = 0 } = row.allocatable ?? {}
  site.version++
  Object.assign(site, { row, cpu: Math.round(cpu * 1000), memory, disk, gpu: row.gpus.length })
  const known = new Map(row.inventory?.gpus?.map((found) => [found.uuid, found]))
  const blocked = new Map(site.devices.map((device) => [device.uuid, device.blocked]))
  site.devices = row.gpus.map((uuid) => ({
    uuid, gpu: known.get(uuid), kind: kindOf(known.get(uuid)), holders: 0, promised: 0, blocked: blocked.get(uuid) ?? null,
  })) // prettier-ignore
  for (const task of site.holders.values()) occupy(site, task, task.gpus, 1)
}

/** Take (1) or give back (-1) what a task holds. */
export function occupy(
  site: Site,
  { resources, gpu: need }: Pick<TaskRow, 'resources' | 'gpu'>,
  uuids: readonly string[],
  sign: 1 | -1,
): void {
  site.cpu -= sign * Math.round(resources.cpu * 1000)
  site.memory -= sign * resources.memory
  site.disk -= sign * resources.disk
  for (const device of site.devices)
    if (uuids.includes(device.uuid)) {
      if (device.holders === (sign === 1 ? 0 : 1)) site.gpu -= sign
      device.holders += sign
      device.promised += sign * (need?.share ?? 0)
    }
}

/** Answers whether anything about it changed. */
export function refresh(site: Site, surroundings: Surroundings): boolean {
  const closed = closedWhy(site.row, surroundings)
  let changed = closed?.message !== site.closed?.message
  site.closed = closed
  const blocked = surroundings.blockedGpus(site.row.id)
  if (!blocked.size && !site.blocked) return changed
  site.blocked = blocked.size > 0
  for (const device of site.devices) {
    const why = blocked.get(device.uuid) ?? null
    changed ||= why?.message !== device.blocked?.message
    device.blocked = why
  }
  return changed
}

function closedWhy(row: NodeRow, { liveness, diskLow }: Surroundings): Reason | null {
  const life = liveness(row.id)
  if (life !== 'ready')
    return { code: 'node_silent', message: life === 'unknown' ? 'not heard of yet' : `is ${life}` }
  if (row.cordon) {
    const { by, reason, drain } = row.cordon
    const message = `${drain ? 'is drained' : 'takes nothing new'} (${by}${reason ? `: ${reason}` : ''})`
    return { code: 'node_cordoned', message }
  }
  if (!row.inventory) return { code: 'node_unknown', message: 'has not reported yet' }
  return diskLow(row.id) ? { code: 'disk_low', message: 'disk low' } : null
}

/** Bytes a shared device still has to promise; none while somebody has it alone. */
export const shareLeft = ({ gpu, holders, promised }: Device): number =>
  gpu?.shared && (holders === 0 || promised > 0) ? gpu.memory - promised : 0
