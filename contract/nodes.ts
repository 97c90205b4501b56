import { z } from 'zod'
import { Reason } from './reason.ts'
import { Resources } from './resources.ts'
import { Name, ResourceVersion, Time } from './text.ts'

/**
 * How two GPUs reach each other, best first: so many NVLinks (`NV4`) or AMD's XGMI, one PCIe switch, several, the
 * host bridge, the same NUMA node, across the host's sockets.
 */
export const GpuLink = z.union([
  z.string().regex(/^NV\d+$/),
  z.enum(['XGMI', 'PIX', 'PXB', 'PHB', 'NODE', 'SYS']),
])
export type GpuLink = z.infer<typeof GpuLink>

export const Gpu = z
  .object({
    uuid: z.string(),
    index: z.int(),
    vendor: z.enum(['nvidia', 'amd']),
    model: z.string(),
    memory: z.int().describe('Bytes; of a slice, its own.'),
    driver: z.string().optional(),
    cuda: z.string().optional(),
    bus_id: z.string().optional().describe('On the PCI bus.'),
    numa: z.int().optional().describe('The NUMA node it hangs on; absent when the host does not say.'),
    links: z.record(z.string(), GpuLink).optional().describe('To the host’s other GPUs, by UUID.'),
    mig_mode: z.boolean().optional().describe('It is cut into slices, which are handed out in its place.'),
    mig: z
      .object({ parent: z.string().describe('UUID of the GPU it is cut from.'), profile: z.string() })
      .optional()
      .describe('Set on a slice.'),
    shared: z
      .boolean()
      .optional()
      .describe('An admin lets tasks share it by declared memory; not enforced: no isolation.'),
    device: z.string().optional().describe('Its device file, where tasks get it by that (AMD).'),
    fault: Reason.nullable()
      .optional()
      .describe('Why it is not handed out although it is there; absent or null when nothing is wrong.'),
  })
  .meta({ id: 'Gpu' })
export type Gpu = z.infer<typeof Gpu>

/** What runs on a GPU just now, ours or somebody else's. */
export const GpuProcess = z
  .object({
    pid: z.int(),
    user: z.string().nullable().describe('null when the host does not say.'),
    name: z.string(),
    memory: z.int().nullable().describe('Bytes; null when the driver does not say.'),
    kind: z.enum(['compute', 'graphics']).describe('Of a process that does both: compute.'),
    task: z.string().nullable().describe('The task it belongs to; null: started outside the cluster.'),
    blocking: z
      .boolean()
      .describe('It keeps the GPU from being handed out: of outside the cluster, computing, and not tiny.'),
  })
  .meta({ id: 'GpuProcess' })
export type GpuProcess = z.infer<typeof GpuProcess>

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
        cdi: z.boolean().optional().describe('It knows devices by the Container Device Interface.'),
      })
      .nullable(),
    runtimes: z.array(RuntimeName),
    kerberos: z.string().optional().describe('Version of its krb5-user, with which tasks get tickets.'),
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
        processes: z.array(GpuProcess).optional(),
        fault: Reason.nullable().optional().describe('As the last reading found it; null: nothing is wrong.'),
      }),
    ),
    warnings: z
      .array(z.string())
      .optional()
      .describe('What of the host cannot be measured just now, such as a driver that does not answer.'),
    disk_low: z.boolean(),
    pulls: z
      .array(z.object({ image: z.string(), bytes: z.int(), total: z.int().nullable() }))
      .optional()
      .describe('Images that its engine is getting.'),
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
    labels: z.record(z.string(), z.string()).optional(),
    cordon: z
      .object({
        by: z.string(),
        at: Time,
        reason: z.string(),
        drain: z
          .object({
            deadline: Time.describe('What is not done by then is stopped and waits for another place.'),
            grace_seconds: z.int().nullable().describe('null: each task’s own.'),
            power_off: z.boolean().optional().describe('Its vote and leadership go to others.'),
            reboot: z.boolean().optional().describe('In use again when its next boot reports.'),
          })
          .nullable(),
      })
      .nullable()
      .optional()
      .describe('Takes nothing new; null: it does.'),
    inventory: Inventory.nullable().describe('null until the node first reported.'),
    allocatable: Resources.nullable(),
    allocated: Allocated,
    faults: z
      .array(z.string())
      .optional()
      .describe('What is wrong with the host or its devices, a sentence each.'),
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
