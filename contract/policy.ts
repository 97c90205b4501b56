import { z } from 'zod'
import { parsedBy } from './scheduling-input.ts'
import type { FieldError } from './problem.ts'
import { line } from './text.ts'

const HostPath = line(1024)
  .regex(/^\/[^,:]*$/, 'expected an absolute path without ":" or ","')
  .refine(
    (path) =>
      path === '/' ||
      path
        .slice(1)
        .split('/')
        .every((part) => !['', '.', '..'].includes(part)),
    'expected a path without ".", "..", empty parts or a "/" at its end',
  )

/** Whom a part of the policy is for. */
const Subject = z
  .string({ error: 'expected *, user:NAME or team:NAME' })
  .regex(/^(\*|(user|team):[A-Za-z0-9][A-Za-z0-9._-]{0,62})$/, 'expected *, user:NAME or team:NAME')
const Subjects = z.array(Subject).max(200).describe('*, user:NAME, team:NAME.')

/** Folders that are the host itself, or lead into it; no policy gives them away. */
const hostFolders = [
  '/bin', '/boot', '/dev', '/etc', '/lib', '/lib64', '/proc', '/root', '/run', '/sbin', '/sys', '/usr',
  '/var/lib/containerd', '/var/lib/docker', '/var/run',
] as const // prettier-ignore
const within = (path: string, folder: string) =>
  path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`)
const ofTheHost = (path: string) =>
  hostFolders.some((folder) => within(path, folder) || within(folder, path)) || /\.sock$/.test(path)

/** Files of memory and disks, and GPUs, which the scheduler hands out. */
const neverDevices =
  /^\/dev\/(nvidia|dri(\/|$)|kfd|mem$|kmem|port$|kmsg|sd|hd|vd|xvd|nvme|dm-|mapper|loop|md|bsg)/

/** What a task may do without being the host's root. The others are a way out of the container. */
export const allowableCapabilities = [
  'AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'IPC_LOCK', 'KILL', 'LEASE', 'NET_BIND_SERVICE',
  'NET_RAW', 'SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT', 'SYS_NICE', 'SYS_PTRACE', 'SYS_RESOURCE',
] as const // prettier-ignore
const Capability = z.preprocess(
  (word) => (typeof word === 'string' ? word.toUpperCase().replace(/^CAP_/, '') : word),
  z.enum(allowableCapabilities, { error: `expected one of ${allowableCapabilities.join(', ')}` }),
)

/** What containers may have beyond the default, which is nothing of the host, and who may ask for it. */
export const ContainerPolicy = z
  .strictObject({
    mounts: z
      .array(
        z.strictObject({
          path: HostPath.refine((path) => path !== '/' && !ofTheHost(path), 'expected a folder that is not part of the host itself, such as /data'), // prettier-ignore
          read_only: z.boolean().default(true),
          for: Subjects,
        }),
      )
      .max(200)
      .default([])
      .describe('Folders of the hosts. Exactly these can be mounted, not what lies below them.'),
    devices: z
      .array(
        z.strictObject({
          path: HostPath.refine((path) => path.startsWith('/dev/') && !neverDevices.test(path), 'expected a device such as /dev/infiniband/uverbs0; GPUs are asked for as resources'), // prettier-ignore
          for: Subjects,
        }),
      )
      .max(200)
      .default([]),
    capabilities: z
      .array(z.strictObject({ name: Capability, for: Subjects }))
      .max(200)
      .default([]),
    host_network: Subjects.default([]).describe('Who may use the network of the host itself.'),
    root: Subjects.default([]).describe('Whose containers may run as root.'),
  })
  .superRefine(({ mounts }, ctx) => {
    // What is written through one mount could turn the other's place into a link to anywhere.
    for (const [at, { path }] of mounts.entries())
      if (mounts.some((other, index) => index !== at && within(path, other.path)))
        ctx.addIssue({
          code: 'custom',
          path: ['mounts', at, 'path'],
          message: 'expected a folder that lies in none of the others',
        })
  })
  .meta({ id: 'ContainerPolicy' })
export type ContainerPolicy = z.output<typeof ContainerPolicy>

export const defaultContainerPolicy: ContainerPolicy = {
  mounts: [],
  devices: [],
  capabilities: [],
  host_network: [],
  root: [],
}

const Mount = z.strictObject({ path: HostPath, target: HostPath, read_only: z.boolean() })
const taken = ['/code', '/output', '/etc', '/proc', '/sys', '/dev', '/run', '/home', '/root', '/tmp']
function checkMount(mount: z.output<typeof Mount>): z.output<typeof Mount> | { error: string } {
  const { target } = mount
  return target === '/' || taken.includes(target) || /^\/(proc|sys|dev|etc|run|var\/run)(\/|$)/.test(target)
    ? { error: `expected another target than ${target}, such as /data` }
    : mount
}

/** `/data`, `/data:/mnt/data`, `/data:/mnt/data:rw`; read-only unless it is said otherwise. */
function parseMount(input: string): z.output<typeof Mount> | { error: string } {
  const expected = { error: 'expected PATH, PATH:TARGET, or PATH:TARGET:rw' }
  const [path = '', target = path, mode = 'ro', ...rest] = input.split(':')
  if (rest.length || !['ro', 'rw'].includes(mode)) return expected
  const read = Mount.safeParse({ path, target, read_only: mode === 'ro' })
  return read.success ? checkMount(read.data) : expected
}

const MountInput = z.union(
  [
    parsedBy(line(2100), parseMount),
    parsedBy(
      z
        .strictObject({ path: HostPath, target: HostPath.optional(), read_only: z.boolean().default(true) })
        .transform(({ path, target = path, read_only }) => ({ path, target, read_only })),
      checkMount,
    ),
  ],
  { error: 'expected a folder such as /data:/mnt/data:rw' },
)

/** What a spec asks of the host beyond the default; each needs an admin's policy. */
export const containerInput = {
  mounts: z.array(MountInput).max(32).optional().describe('Folders of the host, such as /data:/mnt/data:rw.'),
  devices: z.array(HostPath).max(32).optional().describe('Such as /dev/infiniband/uverbs0.'),
  capabilities: z.array(Capability).max(32).optional().describe('Such as SYS_PTRACE; with user: root.'),
  network: z.literal('host', { error: 'expected host, or leave it out' }).optional(),
  user: z.literal('root', { error: 'expected root, or leave it out' }).optional(),
}
export const containerFields = {
  mounts: z.array(Mount).optional(),
  devices: z.array(z.string()).optional(),
  capabilities: z.array(z.string()).optional(),
  network: z.literal('host').optional(),
  user: z.literal('root').optional(),
}
/** What a workload's containers get of the host. */
export type ContainerAsks = { [K in keyof typeof containerFields]?: z.output<(typeof containerFields)[K]> }

/** Only what was asked for: a spec that asks for nothing is as it was before there was a policy. */
export function containerAsks(given: { readonly [K in keyof ContainerAsks]?: unknown }): ContainerAsks {
  const some = Object.keys(containerFields).flatMap((key) => {
    const value = given[key as keyof ContainerAsks]
    return value === undefined || (Array.isArray(value) && value.length === 0) ? [] : [[key, value]]
  })
  return Object.fromEntries(some) as ContainerAsks
}

/** Whose work it is. */
export interface PolicySubject {
  readonly name: string
  readonly teams: readonly string[]
}

/** What of a spec the policy does not allow this person, and what an admin would have to allow. */
export function policyFaults(asks: ContainerAsks, policy: ContainerPolicy, who: PolicySubject): FieldError[] {
  const mine = new Set(['*', `user:${who.name}`, ...who.teams.map((team) => `team:${team}`)])
  const isFor = (subjects: readonly string[]) => subjects.some((subject) => mine.has(subject))
  const faults: FieldError[] = []
  const refuse = (pointer: string, what: string, where: string) =>
    faults.push({
      pointer,
      message: `the cluster's policy does not allow ${who.name} ${what}; an admin would have to add it to ${where} (submarine policy set)`,
    })
  for (const [at, { path, read_only }] of (asks.mounts ?? []).entries()) {
    const rule = policy.mounts.find((each) => each.path === path && isFor(each.for))
    if (!rule) refuse(`/mounts/${at}`, `to mount ${path} of the host`, '"mounts"')
    else if (rule.read_only && !read_only)
      refuse(`/mounts/${at}`, `to write to ${path} of the host`, '"mounts", with read_only: false')
  }
  for (const [at, path] of (asks.devices ?? []).entries())
    if (!policy.devices.some((rule) => rule.path === path && isFor(rule.for)))
      refuse(`/devices/${at}`, `the device ${path}`, '"devices"')
  for (const [at, name] of (asks.capabilities ?? []).entries())
    if (!policy.capabilities.some((rule) => rule.name === name && isFor(rule.for)))
      refuse(`/capabilities/${at}`, `the capability ${name}`, '"capabilities"')
    else if (asks.user !== 'root')
      faults.push({ pointer: `/capabilities/${at}`, message: 'has an effect with "user: root" only' })
  if (asks.network === 'host' && !isFor(policy.host_network))
    refuse('/network', 'the network of the host', '"host_network"')
  if (asks.user === 'root' && !isFor(policy.root)) refuse('/user', 'to run as root', '"root"')
  return faults
}
