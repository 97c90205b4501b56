import type { ContainerCreateOptions, HostConfig } from 'dockerode'
import type { Gpu } from '../../../contract/index.ts'
import type { Launch } from '../runtime.ts'
import { homeOf, personEnvironment, personFiles } from './person.ts'
import { ticketEnvironment } from '../task/ticket.ts'
import { visibleDevices, withoutDeviceVariables } from '../task/visible.ts'

/** Whose containers these are: several agents, even of several clusters, may share one engine. */
export interface Owner {
  readonly cluster: string
  readonly node: string
}

/** What the engine's host can do, as far as containers depend on it. */
export interface Host {
  readonly cpus: number
  readonly cpuQuota: boolean
  readonly network: 'bridge' | 'host'
  /** The network of ours that it joins, where containers are bridged. */
  readonly tenant?: string
  /** Its users are others than the host's: a user namespace, or an engine without root. */
  readonly ownUsers?: boolean
  /** How the engine is told of NVIDIA's devices: by its own runtime, or by the Container Device Interface. */
  readonly nvidia?: 'runtime' | 'cdi'
  /** The devices of the attempt, as far as they are known here. */
  readonly gpus?: readonly Gpu[]
  /** Groups that own the device files of AMD's GPUs. */
  readonly deviceGroups?: readonly string[]
}

/** The name under which a container finds its agent (docs/decisions/0003). */
export const taskHost = 'host.docker.internal'

const codeMount = '/code'
const outputMount = '/output'
const secretsMount = '/run/secrets'
const caMount = '/run/submarine/ca.pem'

/** The engine's own lower limits; it refuses to create a container below them. */
const leastMemory = 6 * 1024 ** 2
const leastCpu = 0.01

/**
 * What root needs to install packages and to work on files of others, and nothing that reaches out of the container.
 * Other users have no capabilities at all: nothing in the container can give them any (no-new-privileges).
 */
const rootCapabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
  'SETGID',
  'SETUID',
]

/** Data loaders and numeric libraries start threads by the hundred; a fork bomb starts them by the ten thousand. */
const pidsLimit = 16_384

/**
 * The engine's log is only a buffer on the way to the cluster's own: bounded, and long enough for an agent that is
 * down for a while. json-file, because every engine has it, reads it back with nanosecond times while it is followed
 * and rotated, and people may look with `docker logs`; whatever driver the host's daemon.json names does not matter.
 */
const logConfig = { Type: 'json-file', Config: { 'max-size': '32m', 'max-file': '4', compress: 'false' } }

export const labels = {
  cluster: 'submarine.cluster',
  node: 'submarine.node',
  task: 'submarine.task',
  attempt: 'submarine.attempt',
} as const

export function labelFilter(owner: Owner, of: { task?: string; attempt?: number } = {}): string[] {
  const wanted = [`${labels.cluster}=${owner.cluster}`, `${labels.node}=${owner.node}`]
  if (of.task !== undefined) wanted.push(`${labels.task}=${of.task}`)
  if (of.attempt !== undefined) wanted.push(`${labels.attempt}=${of.attempt}`)
  return wanted
}

export function containerName(task: string, attempt: number): string {
  return `sdc-${task.replaceAll(/[^a-zA-Z0-9_.-]/g, '_')}-${attempt}`
}

/** Everything the engine is told of an attempt. */
export function containerSpec(
  launch: Launch,
  image: string,
  owner: Owner,
  host: Host,
): ContainerCreateOptions & { name: string } {
  const [program, ...words] = launch.command
  return {
    name: containerName(launch.task, launch.attempt),
    Image: image,
    // The command is run as it is: an entry point of the image must not be put in front of it.
    Entrypoint: program === undefined ? [] : [program],
    Cmd: words,
    WorkingDir: codeMount,
    // Never the image's own choice, which is root in most.
    User: launch.asks.user === 'root' ? '0:0' : `${launch.person.uid}:${launch.person.uid}`,
    Env: Object.entries(environment(launch, host)).map(([key, value]) => `${key}=${value}`),
    Labels: {
      [labels.cluster]: owner.cluster,
      [labels.node]: owner.node,
      [labels.task]: launch.task,
      [labels.attempt]: String(launch.attempt),
    },
    HostConfig: hostConfig(launch, host),
  }
}

function hostConfig(launch: Launch, host: Host): ContainerCreateOptions['HostConfig'] {
  const memory = Math.max(launch.resources.memory, leastMemory)
  const cpu = Math.min(Math.max(launch.resources.cpu, leastCpu), host.cpus)
  return {
    Init: true,
    Memory: memory,
    // The same limit with swap: no swap, so that an experiment is never slowed down unseen.
    MemorySwap: memory,
    ShmSize: Math.floor(memory / 2),
    ...(host.cpuQuota ? { NanoCpus: Math.round(cpu * 1e9) } : {}),
    PidsLimit: pidsLimit,
    SecurityOpt: ['no-new-privileges'],
    Privileged: false,
    CapDrop: ['ALL'],
    CapAdd: launch.asks.user === 'root' ? [...rootCapabilities, ...(launch.asks.capabilities ?? [])] : [],
    // Else the engine would start it again after a reboot, unseen by the cluster.
    RestartPolicy: { Name: 'no' },
    LogConfig: logConfig,
    Mounts: mounts(launch),
    NetworkMode: launch.asks.network ?? host.tenant ?? host.network,
    ExtraHosts: [`${taskHost}:${host.network === 'bridge' ? 'host-gateway' : '127.0.0.1'}`],
    ...withAsked(launch.gpus.length ? devices(launch.gpus, host) : {}, launch.asks.devices ?? []),
  }
}

/** The devices of the attempt, and those of the host that it was granted. */
function withAsked(given: DeviceConfig, asked: readonly string[]): DeviceConfig {
  return asked.length ? { ...given, Devices: [...(given.Devices ?? []), ...asked.map(asItIs)] } : given
}

const asItIs = (node: string) => ({ PathOnHost: node, PathInContainer: node, CgroupPermissions: 'rwm' })

type DeviceConfig = Pick<HostConfig, 'DeviceRequests' | 'GroupAdd'> & {
  Devices?: ReturnType<typeof asItIs>[]
}

/** Exactly these devices: by UUID, which stays when the order on the bus changes. */
function devices(uuids: readonly string[], host: Host): DeviceConfig {
  if (vendorOf(host) === 'amd') {
    const nodes = ['/dev/kfd', ...(host.gpus ?? []).flatMap(({ device }) => device ?? [])]
    return {
      Devices: nodes.map(asItIs),
      ...(host.deviceGroups?.length ? { GroupAdd: [...host.deviceGroups] } : {}),
    }
  }
  if (host.nvidia === 'cdi')
    return { DeviceRequests: [{ Driver: 'cdi', DeviceIDs: uuids.map((uuid) => `nvidia.com/gpu=${uuid}`) }] }
  return { DeviceRequests: [{ Driver: 'nvidia', DeviceIDs: [...uuids], Capabilities: [['gpu']] }] }
}

const vendorOf = ({ gpus = [] }: Host) => (gpus[0]?.vendor === 'amd' ? 'amd' : 'nvidia')

function mounts(launch: Launch) {
  const bind = (Source: string, Target: string, ReadOnly: boolean) => ({
    Type: 'bind' as const,
    Source,
    Target,
    ReadOnly,
  })
  const { home, passwd, group } = personFiles(launch.ownFolder)
  return [
    bind(launch.codeFolder, codeMount, false),
    bind(launch.outputFolder, outputMount, false),
    ...(launch.caFile ? [bind(launch.caFile, caMount, true)] : []),
    ...(launch.asks.user === 'root'
      ? []
      : [
          bind(home, homeOf(launch.person), false),
          bind(passwd, '/etc/passwd', true),
          bind(group, '/etc/group', true),
        ]),
    ...(launch.secrets ? [bind(launch.secrets.folder, secretsMount, true)] : []),
    ...(launch.asks.mounts ?? []).map(({ path, target, read_only }) => bind(path, target, read_only)),
  ]
}

function environment(launch: Launch, host: Host): Record<string, string> {
  const { CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES, ...visible } = visibleDevices(
    launch.gpus,
    vendorOf(host),
  )
  return {
    PYTHONUNBUFFERED: '1',
    ...(launch.asks.user === 'root' ? { HOME: '/root', USER: 'root' } : personEnvironment(launch.person)),
    ...withoutDeviceVariables(launch.env),
    // Last, so that neither the image nor the experiment can ask for GPUs that are another task's.
    ...visible,
    // A container with devices of its own has no others: libraries count them from 0, as programs expect.
    ...(launch.gpus.length ? {} : { CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES }),
    ...(launch.secrets ? { ...launch.secrets.env, SUBMARINE_SECRETS: secretsMount } : {}),
    ...(launch.secrets?.ticket ? ticketEnvironment(secretsMount) : {}),
    SUBMARINE_OUTPUT: outputMount,
    ...(launch.caFile ? { SUBMARINE_CA: caMount } : {}),
  }
}
