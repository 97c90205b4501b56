// A host with GPUs where there are none: doubles of nvidia-smi and of NVIDIA's container hook, which tell and show what
// a test says. The agent, the engine and the containers are real; the device files lead to /dev/null.
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'

export interface DoubleGpu {
  readonly uuid: string
  readonly minor: number
  readonly processes?: readonly { readonly pid: number; readonly memory: string; readonly type: 'C' | 'G' }[]
}

export interface GpuHost {
  /** To stand first on the search path of the agent and of the engine. */
  readonly bin: string
  show(gpus: readonly DoubleGpu[]): Promise<void>
  /** The hook shows every device to whoever asks for one, as a toolkit set up wrongly does. */
  misconfigure(wrong: boolean): Promise<void>
}

export async function gpuHost(root: string, all: readonly DoubleGpu[]): Promise<GpuHost> {
  const bin = path.join(root, 'bin')
  await mkdir(bin, { recursive: true })
  const program = async (name: string, script: string) => {
    await writeFile(path.join(bin, name), `#!/bin/sh\n${script}\n`)
    await chmod(path.join(bin, name), 0o755)
  }
  await program(
    'nvidia-smi',
    `case "$*" in "-q -x") cat '${root}/log.xml' ;; "topo -m") cat '${root}/topology' ;; *) exit 2 ;; esac`,
  )
  // The engine calls it with the container's state before the container's first process: it makes the device files.
  await program(
    'nvidia-container-runtime-hook',
    `state=$(cat)
pid=$(echo "$state" | sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p')
config=$(echo "$state" | sed -n 's/.*"bundle":"\\([^"]*\\)".*/\\1/p')/config.json
ids=$(sed -n 's/.*"NVIDIA_VISIBLE_DEVICES=\\([^"]*\\)".*/\\1/p' "$config")
rootfs=$(sed -n 's/.*"root":{"path":"\\([^"]*\\)".*/\\1/p' "$config")
[ -e '${root}/wrong' ] && ids='${all.map(({ uuid }) => uuid).join()}'
${all.map(({ uuid, minor }) => `case ",$ids," in *,${uuid},*) nsenter -t "$pid" -m mknod -m 666 "$rootfs/dev/nvidia${minor}" c 1 3 ;; esac`).join('\n')}
exit 0`,
  )
  const topology = `\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tNV4\t0-3\t0\nGPU1\tNV4\t X \t0-3\t0\n`
  await writeFile(path.join(root, 'topology'), topology)
  const host: GpuHost = {
    bin,
    async show(gpus) {
      await writeFile(path.join(root, 'log.new'), logOf(gpus))
      await rename(path.join(root, 'log.new'), path.join(root, 'log.xml'))
    },
    async misconfigure(wrong) {
      if (wrong) await writeFile(path.join(root, 'wrong'), '')
      else await rm(path.join(root, 'wrong'), { force: true })
    },
  }
  await host.show(all)
  return host
}

function logOf(gpus: readonly DoubleGpu[]): string {
  const process = ({ pid, memory, type }: NonNullable<DoubleGpu['processes']>[number]) =>
    `<process_info><pid>${pid}</pid><type>${type}</type><process_name>train</process_name><used_memory>${memory}</used_memory></process_info>`
  const each = gpus.map(
    ({ uuid, minor, processes = [] }) => `<gpu id="00000000:0${minor + 1}:00.0">
<product_name>NVIDIA L4</product_name><uuid>${uuid}</uuid><minor_number>${minor}</minor_number>
<fb_memory_usage><total>23034 MiB</total><used>4 MiB</used></fb_memory_usage>
<utilization><gpu_util>0 %</gpu_util></utilization><temperature><gpu_temp>31 C</gpu_temp></temperature>
<processes>${processes.map(process).join('')}</processes></gpu>`,
  )
  return `<?xml version="1.0" ?>
<nvidia_smi_log><driver_version>550.90.07</driver_version><cuda_version>12.4</cuda_version>
<attached_gpus>${gpus.length}</attached_gpus>${each.join('')}</nvidia_smi_log>`
}
