import {
  type Affinity,
  type Constraint,
  type GpuNeed,
  normalImage,
  type Resources,
} from '../../contract/index.ts'
import type { TaskRow } from '../cluster/state.ts'
import type { Workload } from '../cluster/workloads.ts'

/** What one task needs of a node. Tasks of one shape fit the same places, so what is learnt of one holds for all. */
export interface Shape {
  readonly id: number
  /** Thousandths of a core. */
  readonly cpu: number
  readonly memory: number
  readonly disk: number
  readonly gpu: number
  readonly resources: Resources
  readonly need: GpuNeed | undefined
  readonly image: string | undefined
  /** Its digest if it is pinned, else the one spelling under which nodes tell of theirs. */
  readonly imageName: string | undefined
  readonly constraints: readonly Constraint[]
  readonly affinities: readonly Affinity[]
}

/** Hands out one shape for equal needs. */
export class Shapes {
  readonly #byKey = new Map<string, Shape>()
  readonly #byWorkload = new WeakMap<Workload, Map<string, Shape>>()

  get size(): number {
    return this.#byKey.size
  }

  of(workload: Workload, task: Pick<TaskRow, 'role' | 'resources' | 'gpu'>): Shape {
    let roles = this.#byWorkload.get(workload)
    if (!roles) this.#byWorkload.set(workload, (roles = new Map<string, Shape>()))
    const known = roles.get(task.role)
    if (known) return known
    const made = this.#intern(workload, task)
    roles.set(task.role, made)
    return made
  }

  #intern(
    workload: Workload,
    { role, resources, gpu: need }: Pick<TaskRow, 'role' | 'resources' | 'gpu'>,
  ): Shape {
    const { constraints, affinities } = workload
    const { image, image_digest } = workload.roles[role] ?? {}
    const imageName = image_digest ?? (image && normalImage(image))
    const { cpu, memory, disk, gpu } = resources
    const key = JSON.stringify([
      cpu,
      memory,
      disk,
      gpu,
      need ?? null,
      imageName ?? null,
      constraints,
      affinities,
    ])
    const known = this.#byKey.get(key)
    if (known) return known
    const made: Shape = {
      id: this.#byKey.size,
      cpu: Math.round(cpu * 1000),
      memory, disk, gpu, resources, need, image, imageName, constraints, affinities,
    } // prettier-ignore
    this.#byKey.set(key, made)
    return made
  }
}
