import { z } from 'zod'
import { Resources } from './resources.ts'
import { Name, ResourceVersion, Time } from './text.ts'

export const Gpu = z
  .object({
    uuid: z.string(),
    index: z.int(),
    vendor: z.enum(['nvidia', 'amd']),
    model: z.string(),
    memory: z.int().describe('Bytes.'),
    driver: z.string().optional(),
    cuda: z.string().optional(),
  })
  .meta({ id: 'Gpu' })
export type Gpu = z.infer<typeof Gpu>

export const RuntimeName = z.enum(['docker', 'process']).meta({ id: 'RuntimeName' })
export type RuntimeName = z.infer<typeof RuntimeName>
/** What keeps a task from its neighbours: shown wherever a task is shown. */
export const isolationOf = (runtime: RuntimeName): 'container' | 'none' =>
  runtime === 'docker' ? 'container' : 'none'

/** What a node found on its host. Bytes, cores. */
export const Inventory = z
  .object({
    hostname: z.string(),
    os: z.string(),
    kernel: z.string(),
    arch: z.enum(['x64', 'arm64']),
    cpu: z.object({ model: z.string(), cores: z.int() }),
    memory: z.int(),
    disk: z.object({ path: z.string(), total: z.int(), free: z.int() }),
    gpus: z.array(Gpu),
    docker: z
      .object({
        version: z.string(),
        api: z.string(),
        storage_driver: z.string(),
        cgroup: z.string(),
        runtimes: z.array(z.string()),
      })
      .nullable(),
    runtimes: z.array(RuntimeName),
    default_image: z.string().nullable(),
    agent_version: z.string(),
    node_version: z.string(),
  })
  .meta({ id: 'Inventory' })
export type Inventory = z.infer<typeof Inventory>

/** Live figures; outside the log. Percent 0–100, bytes, °C, W. */
export const Usage = z
  .object({
    at: Time,
    cpu_percent: z.number(),
    memory_used: z.int(),
    memory_total: z.int(),
    disk_free: z.int(),
    disk_total: z.int(),
    load1: z.number(),
    gpus: z.array(
      z.object({
        uuid: z.string(),
        utilization_percent: z.number().nullable(),
        memory_used: z.int().nullable(),
        temperature_c: z.number().nullable(),
        power_w: z.number().nullable(),
      }),
    ),
    disk_low: z.boolean(),
  })
  .meta({ id: 'Usage' })
export type Usage = z.infer<typeof Usage>

/** Judged by the leader's monotonic clock: suspect after 4 s, unreachable after 8 s of silence. */
export const Liveness = z.enum(['ready', 'suspect', 'unreachable', 'unknown']).meta({ id: 'Liveness' })
export type Liveness = z.infer<typeof Liveness>

/** Sum of what tasks hold: zero on an idle node, unlike what a task may ask for. */
const Allocated = z
  .object({ cpu: z.number().min(0), memory: z.int().min(0), gpu: z.int().min(0), disk: z.int().min(0) })
  .meta({ id: 'Allocated' })

export const Node = z
  .object({
    id: z.string(),
    name: Name,
    member: z.int(),
    address: z.string(),
    role: z.enum(['voter', 'learner', 'joining']),
    liveness: Liveness,
    silent_ms: z.int().nullable().describe('Since the leader last heard from it.'),
    unreachable_since: Time.nullable().describe('null while it answers.'),
    joined_at: Time,
    inventory: Inventory.nullable().describe('null until the node first reported.'),
    allocatable: Resources.nullable(),
    allocated: Allocated,
    gpus_held: z.array(z.object({ uuid: z.string(), task: z.string() })),
    tasks: z.int().describe('Tasks holding resources here.'),
    state_differs: z
      .string()
      .nullable()
      .optional()
      .describe('What is wrong with its copy of the replicated state; null when it is as the others are.'),
    usage: Usage.nullable(),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Node' })
export type Node = z.infer<typeof Node>
