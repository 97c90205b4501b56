import type {
  Affinity,
  Constraint,
  GpuNeed,
  LossPolicy,
  PriorityClass,
  Resources,
  Retries,
  State as RunState,
  Visibility,
} from '../../contract/index.ts'
import { sharingOf } from './visibility.ts'
import type { ExperimentRow, QueueRow, State, TaskRow } from './state.ts'

/** What one task of a role takes and runs. */
export interface WorkloadRole {
  readonly image?: string | undefined
  readonly image_digest?: string | undefined
  readonly resources: Resources
  readonly gpu?: GpuNeed | undefined
}

/** Whatever is scheduled, with every default filled in: all that planner and rules know of it. */
export interface Workload {
  readonly id: string
  readonly kind: 'experiment'
  readonly name: string
  readonly owner: string
  readonly team: string | null
  /** Who besides its owner may know of it. */
  readonly visibility: Visibility
  /** With people or teams by name, besides. */
  readonly shared: boolean
  readonly queue: string
  readonly priority: PriorityClass
  readonly preemptible: boolean
  readonly created_at: string
  readonly state: RunState
  readonly stop_requested: boolean
  /** Seconds from the start of each attempt; null: no bound, so nobody knows when it ends. */
  readonly limit_seconds: number | null
  readonly grace_seconds: number
  readonly placement: 'pack' | 'spread'
  readonly even: boolean
  /** Its queue's and its own. */
  readonly constraints: readonly Constraint[]
  readonly affinities: readonly Affinity[]
  readonly loss_policy: LossPolicy
  readonly retries: Retries
  /** Its tasks are placed one by one, so many at once; null: all together, as a gang. */
  readonly array_limit: number | null
  readonly roles: Readonly<Record<string, WorkloadRole>>
  /** Ids of its tasks, in rank order. */
  readonly tasks: readonly string[]
}

/** What is submitted without naming a queue. It is there without anybody making it. */
export const defaultQueue = 'default'
const noQueue: Omit<QueueRow, 'name' | 'resource_version'> = {
  priority: 'normal',
  max_priority: 'high',
  max_runtime_seconds: null,
  default_runtime_seconds: null,
  constraints: [],
  open: true,
}

/** A queue by name; one that was deleted since is as the default one was made. */
export function queueOf(state: Pick<State, 'queues'>, name: string): Omit<QueueRow, 'resource_version'> {
  return state.queues.get(name) ?? { name, ...noQueue }
}

/** Every workload, finished ones too. */
export function workloads(state: State): Workload[] {
  return [...state.experiments.values()].map((row) => ofExperiment(state, row))
}

export function workloadOf(state: State, id: string): Workload | undefined {
  const row = state.experiments.get(id)
  return row && ofExperiment(state, row)
}

const known = new WeakMap<ExperimentRow, { queues: State['queues']; made: Workload }>()
function ofExperiment(state: State, row: ExperimentRow): Workload {
  const before = known.get(row)
  if (before?.queues === state.queues) return before.made
  const made = make(row, queueOf(state, row.spec.queue ?? defaultQueue))
  known.set(row, { queues: state.queues, made })
  return made
}

function make(row: ExperimentRow, queue: Omit<QueueRow, 'resource_version'>): Workload {
  const { spec } = row
  const retries = spec.retries ?? { limit: 0, backoff_seconds: 0, max_backoff_seconds: 0 }
  const priority = spec.priority ?? queue.priority
  return {
    id: row.id,
    kind: 'experiment',
    name: row.name,
    owner: row.owner,
    team: spec.team ?? null,
    visibility: sharingOf(row).visibility,
    shared: sharingOf(row).shares.length > 0,
    queue: queue.name,
    priority,
    preemptible: spec.preemptible ?? priority === 'low',
    created_at: row.created_at,
    state: row.state,
    stop_requested: row.stop_requested,
    limit_seconds: spec.timeout_seconds ?? queue.default_runtime_seconds,
    grace_seconds: spec.grace_seconds ?? 10,
    placement: spec.placement ?? 'pack',
    even: spec.even ?? false,
    constraints: [...queue.constraints, ...(spec.constraints ?? []), ...impliedBy(spec)],
    affinities: spec.affinities ?? [],
    loss_policy: spec.loss_policy ?? (retries.limit > 0 ? { kind: 'lease', seconds: 600 } : { kind: 'hold' }),
    retries,
    array_limit: spec.array ? (spec.array.limit ?? spec.array.indices.length) : null,
    roles: spec.roles,
    tasks: row.tasks,
  }
}

const forTickets: Constraint = { attribute: 'kerberos', operator: 'exists', values: [] }

/** What its nodes must have for what else it asks for. */
const impliedBy = ({ secrets }: ExperimentRow['spec']): Constraint[] =>
  secrets?.some(({ ticket }) => ticket) ? [forTickets] : []

/** Tasks that start together or not at all: the whole workload, or each task of an array for itself. */
export function gangsOf(workload: Workload, tasks: readonly TaskRow[]): TaskRow[][] {
  return workload.array_limit === null ? [[...tasks]] : tasks.map((task) => [task])
}
