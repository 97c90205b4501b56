import { readdir, stat } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import type { Readable } from 'node:stream'
import type Docker from 'dockerode'
import type { Gpu, Reason } from '../../../contract/index.ts'
import { listedUuids } from '../detect/nvidia-mig.ts'
import { within } from '../deadline.ts'
import { FrameParser } from './frames.ts'

/** What the node knows of its host's devices. */
export interface HostDevices {
  readonly gpus: readonly Gpu[]
  /** The N of `/dev/nvidiaN`, by UUID. */
  readonly minors: ReadonlyMap<string, number>
}

/** Groups that own the device files of AMD's GPUs: a container's user has to be in them to open those. */
export async function deviceGroups(gpus: readonly Gpu[]): Promise<string[]> {
  const nodes = ['/dev/kfd', ...gpus.flatMap(({ device }) => device ?? [])]
  const owners = await Promise.all(nodes.map((node) => stat(node).catch(() => undefined)))
  return [...new Set(owners.flatMap((found) => (found ? [String(found.gid)] : [])))]
}

/**
 * What is wrong with the devices that a running container sees; undefined when they are exactly those it should see,
 * or when nobody can tell. Asked inside where its image has nvidia-smi, else looked at from outside.
 */
export async function mismatch(
  docker: Docker,
  id: string,
  wanted: readonly string[],
  host: HostDevices,
  proc = '/proc',
): Promise<Reason | undefined> {
  // A host without GPUs has none to show.
  if (!host.gpus.length) return undefined
  const container = docker.getContainer(id)
  const vendor = host.gpus.find(({ uuid }) => wanted.includes(uuid))?.vendor
  const listing = vendor === 'nvidia' ? await listedInside(container) : undefined
  if (listing !== undefined) return judgeInside(listing, wanted)
  const { State: state } = await container.inspect()
  return state.Running ? judgeOutside(await deviceFiles(proc, state.Pid), wanted, host) : undefined
}

interface Listing {
  readonly output: string
  readonly exitCode: number
}

/** undefined: the image has no such program, or nothing runs in it any more. */
async function listedInside(container: Docker.Container): Promise<Listing | undefined> {
  try {
    const exec = await container.exec({
      Cmd: ['nvidia-smi', '-L'],
      AttachStdout: true,
      AttachStderr: true,
    })
    const stream = (await exec.start({})) as unknown as Readable
    const told = await within(30_000, buffer(stream), 'nvidia-smi in the container')
    const output = Buffer.concat(new FrameParser().push(told).map(({ payload }) => payload)).toString()
    const { ExitCode: exitCode } = await exec.inspect()
    return exitCode === null || exitCode === 126 || exitCode === 127 ? undefined : { output, exitCode }
  } catch {
    return undefined
  }
}

function judgeInside({ output, exitCode }: Listing, wanted: readonly string[]): Reason | undefined {
  if (exitCode !== 0)
    return {
      code: 'gpu_unreachable',
      message:
        `Its container cannot reach its GPUs: ${firstLine(output)}. If systemd was reloaded on the host, set the cgroup driver of ` +
        'the Docker Engine to cgroupfs or use the Container Device Interface.',
    }
  return judge(listedUuids(output), wanted)
}

/** From outside only the whole device of a slice can be seen. */
function judgeOutside(
  files: readonly string[] | undefined,
  wanted: readonly string[],
  { gpus, minors }: HostDevices,
): Reason | undefined {
  if (!files) return undefined
  const fileOf = ({ uuid, device }: Gpu) =>
    device ?? (minors.has(uuid) ? `/dev/nvidia${minors.get(uuid)}` : undefined)
  const mine = gpus.filter(({ uuid }) => wanted.includes(uuid)).map(fileOf)
  // Without the number of each device file nobody can tell which is which.
  if (mine.some((file) => file === undefined)) return undefined
  const own = [...new Set(mine.flatMap((file) => file ?? []))]
  return judge(files, own)
}

function judge(seen: readonly string[], wanted: readonly string[]): Reason | undefined {
  const more = seen.filter((one) => !wanted.includes(one))
  const less = wanted.filter((one) => !seen.includes(one))
  if (!more.length && !less.length) return undefined
  const parts = [
    ...(more.length
      ? [`it sees ${more.join(', ')}, which ${more.length > 1 ? 'are' : 'is'} not its own`]
      : []),
    ...(less.length ? [`it does not see ${less.join(', ')}`] : []),
  ]
  return {
    code: 'gpu_mismatch',
    message:
      `Its container does not see exactly the GPUs that it was given: ${parts.join('; ')}. ` +
      "Look at this node's NVIDIA container toolkit and at the engine's default runtime.",
  }
}

/** GPUs' device files that the container's first process could open; undefined when this agent may not look. */
async function deviceFiles(proc: string, pid: number): Promise<string[] | undefined> {
  const at = `${proc}/${pid}/root/dev`
  const names = await readdir(at).catch(() => undefined)
  if (!names) return undefined
  const render = await readdir(`${at}/dri`).catch((): string[] => [])
  return [
    ...names.filter((name) => /^nvidia\d+$/.test(name)).map((name) => `/dev/${name}`),
    ...render.filter((name) => name.startsWith('renderD')).map((name) => `/dev/dri/${name}`),
  ]
}

const firstLine = (output: string) => (output.trim().split('\n')[0] ?? '').replace(/\.$/, '').slice(0, 300)
