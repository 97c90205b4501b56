import type { Gpu } from '../../contract/index.ts'
import { meets, usableGpu } from '../cluster/rules/constraints.ts'
import type { NodeRow, TaskRow } from '../cluster/state.ts'
import { chooseDevices } from './devices.ts'
import { runtimeFor } from './fit.ts'
import type { Shape } from './shape.ts'
import { type Bound, type Device, newSite, occupy, refresh, setRow, shareLeft, type Site } from './site.ts'
import type { Surroundings } from './surroundings.ts'

/** How many tasks of a shape each site could take, kept up to date as sites change. */
interface Capacity {
  readonly of: number[]
  total: number
  /** Changes of sites that are accounted for. */
  seen: number
  /** Sites to be counted anew although no change tells of them: what was tried on them was taken back. */
  readonly stale: Set<number>
  /** Whether the node as it is described could ever run the shape; by the row it was judged from. */
  readonly able: { row: NodeRow; able: boolean }[]
}

/** One task put on a site for the time being. */
export interface Take {
  readonly site: Site
  readonly shape: Shape
  readonly gpus: readonly string[]
}

/** A long enough list of changes is forgotten; who has not seen them counts anew. */
const mostChanges = 100_000
const mostOfOne = 2_000

/**
 * What is free where. It follows the replicated state by rows, and plans are tried on it: what is taken is given back
 * before the next change of rows.
 */
export class Board {
  readonly sites: Site[] = []
  readonly #byId = new Map<string, Site>()
  readonly #siteOfTask = new Map<string, Site>()
  readonly #capacities = new Map<Shape, Capacity>()
  readonly #kinds = new Map<string, number>()
  readonly #usable = new Map<Shape, (boolean | undefined)[]>()
  #changes: number[] = []
  #forgotten = 0

  setNode(id: string, row: NodeRow | undefined): void {
    const site = this.#byId.get(id)
    if (!row) {
      if (site) this.#remove(site)
    } else if (site) {
      setRow(site, row, this.#kindOf)
      this.#touch(site)
    } else this.#add(row)
  }

  /** Sites stand in the order in which their nodes joined, whatever order the rows came in. */
  #add(row: NodeRow): void {
    const site = newSite(this.sites.length, row, this.#kindOf)
    this.#byId.set(row.id, site)
    this.sites.push(site)
    const last = this.sites[this.sites.length - 2]
    if (last && last.row.member > row.member) this.#reorder()
    this.#touch(site)
  }

  #remove(site: Site): void {
    this.#byId.delete(site.row.id)
    for (const task of site.holders.keys()) this.#siteOfTask.delete(task)
    this.sites.splice(site.index, 1)
    this.#reorder()
  }

  #reorder(): void {
    this.sites.sort((a, b) => a.row.member - b.row.member)
    this.sites.forEach((site, index) => ((site as { index: number }).index = index))
    this.#capacities.clear()
    this.#changes = []
  }

  site(node: string): Site | undefined {
    return this.#byId.get(node)
  }

  /** `task` as it is now, when it holds resources. */
  setTask(id: string, task: TaskRow | undefined): void {
    const before = this.#siteOfTask.get(id)
    const held = before?.holders.get(id)
    const site = task?.node ? this.#byId.get(task.node) : undefined
    if (before && held) {
      if (before === site && task && isSameHold(held, task)) {
        before.version++
        return void before.holders.set(id, task)
      }
      before.holders.delete(id)
      before.version++
      this.#siteOfTask.delete(id)
      occupy(before, held, held.gpus, -1)
      this.#touch(before)
    }
    if (!task || !site) return
    site.holders.set(id, task)
    site.version++
    this.#siteOfTask.set(id, site)
    occupy(site, task, task.gpus, 1)
    this.#touch(site)
  }

  /** Where something begins that is all undone by `rewind`. */
  mark(): number {
    return this.#forgotten + this.#changes.length
  }

  /** Everything since is given back: only what was counted meanwhile has to be counted anew. */
  rewind(mark: number): void {
    if (mark < this.#forgotten) return
    const touched = new Set(this.#changes.slice(mark - this.#forgotten))
    this.#changes.length = mark - this.#forgotten
    for (const known of this.#capacities.values()) {
      if (known.seen <= mark) continue
      known.seen = mark
      for (const index of touched) known.stale.add(index)
    }
  }

  refresh(surroundings: Surroundings): void {
    for (const site of this.sites) if (refresh(site, surroundings)) this.#touch(site)
  }

  /** How many tasks of the shape each site takes, by its index; and all of them together. */
  capacity(shape: Shape): { readonly of: readonly number[]; readonly total: number } {
    let known = this.#capacities.get(shape)
    if (!known)
      this.#capacities.set(shape, (known = { of: [], total: 0, seen: -1, stale: new Set(), able: [] }))
    const end = this.#forgotten + this.#changes.length
    if (known.seen < 0 || known.seen < this.#forgotten || known.of.length !== this.sites.length)
      this.#countAll(shape, known)
    else if (end - known.seen > this.sites.length) this.#countAll(shape, known)
    else {
      for (const index of known.stale) this.#count(shape, known, index)
      for (let at = known.seen; at < end; at++)
        this.#count(shape, known, this.#changes[at - this.#forgotten] ?? 0)
    }
    known.stale.clear()
    known.seen = end
    return known
  }

  /** The same for one site of which some is kept for others. */
  capacityWithin(shape: Shape, site: Site, bound: Bound): number {
    return (this.capacity(shape).of[site.index] ?? 0) === 0 ? 0 : this.#room(shape, site, bound)
  }

  /** Takes what a task needs; undefined when the site has no room for it. */
  take(shape: Shape, site: Site, bound?: Bound): Take | undefined {
    if (this.#room(shape, site, bound) < 1) return undefined
    const gpus = this.#devices(shape, site, bound)
    occupy(site, { resources: shape.resources, ...(shape.need && { gpu: shape.need }) }, gpus, 1)
    this.#touch(site)
    return { site, shape, gpus }
  }

  giveBack({ site, shape, gpus }: Take): void {
    occupy(site, { resources: shape.resources, ...(shape.need && { gpu: shape.need }) }, gpus, -1)
    this.#touch(site)
  }

  /** For trying what would be if a task ended: give back what it holds (1), and take it again (-1). */
  pretend(task: TaskRow, ended: 1 | -1): void {
    const site = this.#siteOfTask.get(task.id)
    if (!site) return
    occupy(site, task, task.gpus, ended === 1 ? -1 : 1)
    this.#touch(site)
  }

  /** The same as `able`, remembered. */
  canEver(shape: Shape, site: Site): boolean {
    this.capacity(shape)
    return this.#capacities.get(shape)?.able[site.index]?.able ?? false
  }

  /** Could the node as it is described ever run the shape, empty? */
  able(shape: Shape, site: Site): boolean {
    const { row } = site
    const { resources } = shape
    const { allocatable } = row
    if (!allocatable || !runtimeFor(row, { image: shape.image })) return false
    if (resources.cpu > allocatable.cpu || resources.memory > allocatable.memory) return false
    if (resources.disk > allocatable.disk) return false
    if (!shape.constraints.every((constraint) => meets(row, constraint))) return false
    if (shape.gpu === 0) return true
    return site.devices.filter((device) => this.#isUsable(shape, device)).length >= shape.gpu
  }

  /** Free devices a task of the shape may have, and those that others have. */
  devicesFor(shape: Shape, site: Site): { free: Device[]; held: Device[]; blocked: Device[] } {
    const usable = site.devices.filter((device) => this.#isUsable(shape, device))
    const isFree = (device: Device) =>
      shape.need?.share === undefined ? device.holders === 0 : shareLeft(device) >= shape.need.share
    return {
      blocked: usable.filter((device) => device.blocked),
      free: usable.filter((device) => !device.blocked && isFree(device)),
      held: usable.filter((device) => !device.blocked && !isFree(device)),
    }
  }

  readonly #kindOf = (gpu: Gpu | undefined): number => {
    const { model, memory, driver, cuda, mig, shared } = gpu ?? {}
    const key = JSON.stringify([model, memory, driver, cuda, mig?.profile, shared])
    const known = this.#kinds.get(key) ?? this.#kinds.size
    this.#kinds.set(key, known)
    return known
  }

  #touch(site: Site): void {
    this.#changes.push(site.index)
    if (this.#changes.length <= mostChanges) return
    this.#forgotten += this.#changes.length
    this.#changes = []
  }

  #countAll(shape: Shape, known: Capacity): void {
    known.of.length = this.sites.length
    known.of.fill(0)
    known.total = 0
    for (let index = 0; index < this.sites.length; index++) this.#count(shape, known, index)
  }

  #count(shape: Shape, known: Capacity, index: number): void {
    const site = this.sites[index]
    if (!site) return
    const judged = known.able[index]
    if (judged?.row !== site.row) known.able[index] = { row: site.row, able: this.able(shape, site) }
    const room = known.able[index]?.able ? this.#room(shape, site) : 0
    known.total += room - (known.of[index] ?? 0)
    known.of[index] = room
  }

  #room(shape: Shape, site: Site, bound?: Bound): number {
    if (site.closed) return 0
    const cpu = bound ? Math.min(bound.cpu, site.cpu) : site.cpu
    const memory = bound ? Math.min(bound.memory, site.memory) : site.memory
    let room = Math.min(mostOfOne, Math.floor(cpu / shape.cpu), Math.floor(memory / shape.memory))
    const disk = bound ? Math.min(bound.disk, site.disk) : site.disk
    if (shape.disk > 0) room = Math.min(room, Math.floor(disk / shape.disk))
    if (room <= 0) return 0
    if (shape.gpu > 0 || shape.need?.share) room = Math.min(room, this.#gpuRoom(shape, site, bound))
    return Math.max(0, room)
  }

  #gpuRoom(shape: Shape, site: Site, bound?: Bound): number {
    const share = shape.need?.share
    let count = 0
    for (const device of site.devices) {
      if (device.blocked || (share === undefined && device.holders > 0)) continue
      if (bound?.without.has(device.uuid) || !this.#isUsable(shape, device)) continue
      count += share === undefined ? 1 : Math.floor(shareLeft(device) / share)
    }
    if (share !== undefined) return Math.floor(count / Math.max(1, shape.gpu))
    return Math.floor(Math.min(count, site.gpu, bound?.gpu ?? Infinity) / shape.gpu)
  }

  /** The same question for all devices of one kind, asked once. */
  #isUsable(shape: Shape, device: Device): boolean {
    let known = this.#usable.get(shape)
    if (!known) this.#usable.set(shape, (known = []))
    return (known[device.kind] ??= usableGpu(device.gpu, shape.need, shape.constraints))
  }

  #devices(shape: Shape, site: Site, bound: Bound | undefined): string[] {
    if (shape.gpu === 0 && !shape.need?.share) return []
    const free = this.devicesFor(shape, site).free.filter((device) => !bound?.without.has(device.uuid))
    const count = Math.max(1, shape.gpu)
    // Fill the fullest shared GPU first, so that an empty one stays for a larger share.
    if (shape.need?.share !== undefined)
      return free.toSorted((a, b) => shareLeft(a) - shareLeft(b)).slice(0, count).map((device) => device.uuid) // prettier-ignore
    // One that may be shared is the last to be taken alone.
    free.sort((a, b) => Number(a.gpu?.shared ?? false) - Number(b.gpu?.shared ?? false))
    const chosen = chooseDevices(free.map((device) => device.gpu), count) // prettier-ignore
    return chosen.map((at) => free[at]?.uuid ?? '')
  }
}

const isSameHold = (a: TaskRow, b: TaskRow) =>
  a.resources === b.resources && a.gpu === b.gpu && a.gpus === b.gpus && a.attempt === b.attempt
