import { z } from 'zod'
import { Resources } from './resources.ts'
import { Reason } from './reason.ts'
import { line, Name, ResourceVersion, Time } from './text.ts'

/** Of a higher class is served first; only a higher class preempts. Age lifts a waiting workload by at most one. */
export const priorityClasses = ['low', 'normal', 'high'] as const
export const PriorityClass = z.enum(priorityClasses).meta({ id: 'PriorityClass' })
export type PriorityClass = z.infer<typeof PriorityClass>

/** Which GPUs a task takes, beside how many. Bytes. */
export const GpuNeed = z
  .strictObject({
    model: z.string().optional().describe('Part of the model’s name, case ignored: "A100".'),
    memory: z.int().positive().optional().describe('At least so many bytes on each.'),
    mig: z.string().optional().describe('A MIG profile, such as 1g.10gb, instead of whole GPUs.'),
    share: z
      .int()
      .positive()
      .optional()
      .describe('So many bytes of a GPU that an admin shares; declared, not enforced: no isolation.'),
  })
  .meta({ id: 'GpuNeed' })
export type GpuNeed = z.infer<typeof GpuNeed>

/**
 * What a node must be. Attributes: `node`, `arch`, `kernel`, `label.KEY`, `gpu.model`, `gpu.memory`, `gpu.driver`,
 * `gpu.cuda`. Sizes and versions are compared as such.
 */
export const Constraint = z
  .strictObject({
    attribute: z.string(),
    operator: z.enum(['=', '!=', '>=', '<=', 'in', 'not in', 'exists', 'not exists']),
    values: z.array(z.string()),
  })
  .meta({ id: 'Constraint' })
export type Constraint = z.infer<typeof Constraint>
/** What a node should rather be: weight −100 … 100. */
export const Affinity = z.strictObject({ ...Constraint.shape, weight: z.int() }).meta({ id: 'Affinity' })
export type Affinity = z.infer<typeof Affinity>

/**
 * What becomes of a task whose node falls silent: `hold` waits for the node, its reboot or an admin's word;
 * `lease` stops itself when cut off for so long, and runs elsewhere after that; `replace-now` may overlap.
 */
export const LossPolicy = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('hold') }),
    z.strictObject({ kind: z.literal('lease'), seconds: z.int().min(10) }),
    z.strictObject({ kind: z.literal('replace-now') }),
  ])
  .meta({ id: 'LossPolicy' })
export type LossPolicy = z.infer<typeof LossPolicy>

/** A failed task is tried again so often, after a pause that doubles. */
export const Retries = z
  .strictObject({
    limit: z.int().min(0).max(100),
    backoff_seconds: z.int().min(0),
    max_backoff_seconds: z.int().min(0),
  })
  .meta({ id: 'Retries' })
export type Retries = z.infer<typeof Retries>

/** One task for each index, each for itself; so many at once. */
export const TaskArray = z
  .strictObject({ indices: z.array(z.int().min(0)).min(1).max(1024), limit: z.int().min(1).optional() })
  .meta({ id: 'TaskArray' })
export type TaskArray = z.infer<typeof TaskArray>

/** What a spec says to the scheduler; what is absent is the queue's, or the default named here. */
export const schedulingFields = {
  team: Name.optional(),
  queue: Name.optional().describe('Absent: default.'),
  priority: PriorityClass.optional().describe('Absent: the queue’s.'),
  preemptible: z.boolean().optional().describe('Absent: of class low only.'),
  grace_seconds: z.int().min(0).max(3600).optional().describe('From SIGTERM to SIGKILL. Absent: 10.'),
  placement: z.enum(['pack', 'spread']).optional().describe('Absent: pack.'),
  even: z.boolean().optional().describe('As many tasks of a role on each node that has any.'),
  constraints: z.array(Constraint).optional(),
  affinities: z.array(Affinity).optional(),
  loss_policy: LossPolicy.optional().describe('Absent: hold; with retries, a lease of 600 s.'),
  retries: Retries.optional(),
  array: TaskArray.optional(),
  idle_stop_seconds: z.int().min(60).optional().describe('Stopped when its GPUs idle for so long.'),
}

// --- queues, quotas, reservations ---------------------------------------------------------------------------

export const Queue = z
  .object({
    name: Name,
    priority: PriorityClass.describe('Of what is submitted without one.'),
    max_priority: PriorityClass.describe('Higher is refused.'),
    max_runtime_seconds: z.int().nullable().describe('Longer timeouts are refused; null: no bound.'),
    default_runtime_seconds: z.int().nullable().describe('The timeout of what is submitted without one.'),
    constraints: z.array(Constraint).describe('Added to those of everything in it.'),
    open: z.boolean().describe('Takes new work.'),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Queue' })
export type Queue = z.infer<typeof Queue>

const notBelow0 = 'expected no number below 0'
/** null: no bound. Money in the cluster's currency, per calendar month (UTC). */
export const Limits = z
  .strictObject({
    gpu: z.int('expected a whole number').min(0, notBelow0).nullable(),
    cpu: z.number().min(0, notBelow0).nullable(),
    memory: z.int().min(0).nullable(),
    disk: z.int().min(0).nullable(),
    running: z.int('expected a whole number').min(0, notBelow0).nullable().describe('Workloads at once.'),
    gpu_hours_month: z.number().min(0, notBelow0).nullable(),
    money_month: z.number().min(0, notBelow0).nullable(),
  })
  .meta({ id: 'Limits' })
export type Limits = z.infer<typeof Limits>

/** `cluster`: everybody together; `user:*`, `team:*`: those without one of their own; `user:NAME`, `team:NAME`. */
export const Quota = z
  .object({
    subject: z.string().regex(/^(cluster|(user|team):(\*|[A-Za-z0-9][A-Za-z0-9._-]*))$/),
    limits: Limits,
    guaranteed_gpu: z
      .int('expected a whole number')
      .min(0, notBelow0)
      .describe('GPUs it gets back from those who borrowed them.'),
    weight: z.number().positive('expected a number above 0').describe('Of its fair share.'),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Quota' })
export type Quota = z.infer<typeof Quota>

/** Whole nodes, or GPUs of a node, kept for somebody for a time. */
export const Reservation = z
  .object({
    id: z.string(),
    name: Name,
    holders: z.array(z.string()).describe('`user:NAME` or `team:NAME`.'),
    nodes: z.array(z.string()).describe('Node ids.'),
    gpus: z.int().min(1).nullable().describe('So many GPUs of each of the nodes; null: the whole nodes.'),
    starts_at: Time,
    ends_at: Time,
    created_by: z.string(),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Reservation' })
export type Reservation = z.infer<typeof Reservation>

// --- why it waits -------------------------------------------------------------------------------------------

/** The same planner that places says why it does not: one sentence per blocking rule and node. */
export const Explanation = z
  .object({
    workload: z.string(),
    placeable: z.boolean().describe('The next pass places it.'),
    reason: Reason.nullable().describe('The first rule in its way.'),
    position: z.int().nullable().describe('1: the next in order; null when it does not wait.'),
    ahead: z.array(z.object({ workload: z.string(), name: z.string(), owner: z.string(), why: line(500) })),
    rules: z.array(Reason).describe('Every rule in its way, first things first.'),
    nodes: z.array(
      z.object({
        node: z.string(),
        name: z.string(),
        fits: z.boolean(),
        reasons: z.array(Reason).describe('Why not; empty when it fits.'),
        holders: z
          .array(
            z.object({ task: z.string(), workload: z.string(), owner: z.string(), resources: Resources }),
          )
          .describe('Who holds what is asked for.'),
      }),
    ),
    /** Where it would go, or goes. */
    placements: z.array(z.object({ task: z.string(), node: z.string(), gpus: z.array(z.string()) })),
    victims: z.array(z.object({ workload: z.string(), name: z.string(), owner: z.string() })),
    expected_start: z
      .object({ at: Time, confidence: z.enum(['high', 'low']) })
      .nullable()
      .describe('From the time limits of what runs; null when something before it has none.'),
    help: z.array(line(500)).describe('What would let it start sooner.'),
  })
  .meta({ id: 'Explanation' })
export type Explanation = z.infer<typeof Explanation>
