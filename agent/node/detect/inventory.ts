import { statfs } from 'node:fs/promises'
import os from 'node:os'
import si from 'systeminformation'
import type { Gpu, Inventory, RuntimeName } from '../../../contract/index.ts'
import type { DockerEngine } from '../docker/engine.ts'
import { ask } from './tool.ts'

export interface DetectOptions {
  /** Its file system is the node's disk. */
  readonly dataDir: string
  /** null: containers are switched off. */
  readonly engine: DockerEngine | null
  readonly processRuntime: boolean
  readonly defaultImage: string | null
  readonly agentVersion: string
  /** The host's GPUs, read anew. */
  readonly gpus: () => Promise<readonly Gpu[]>
}

/** Asked once: neither changes while the host is up, and each answer takes several child processes. */
const system = once(() => si.osInfo())
const chip = once(() => si.cpu())

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined
  return () => (answer ??= ask())
}

export type DockerFacts = NonNullable<Inventory['docker']>

/** What this host is and has. What cannot be found out now (no engine answers, no driver) is left out, not an error. */
export async function detectInventory(options: DetectOptions): Promise<Inventory> {
  const [{ distro, release }, cpu, disk, gpus, docker, kerberos] = await Promise.all([
    system(),
    chip(),
    diskOf(options.dataDir),
    options.gpus(),
    options.engine ? detectDocker(options.engine).catch(() => null) : null,
    kerberosVersion(),
  ])
  return {
    hostname: os.hostname(),
    os: [distro, release].filter(Boolean).join(' ') || os.type(),
    kernel: os.release(),
    arch: os.arch() === 'arm64' ? 'arm64' : 'x64',
    // Cores that this agent may use: a cpuset or a virtual machine's limit counts, not the chip's label.
    cpu: { model: [cpu.manufacturer, cpu.brand].filter(Boolean).join(' '), cores: os.availableParallelism() },
    memory: os.totalmem(),
    disk: { path: options.dataDir, ...disk },
    gpus: [...gpus],
    docker,
    runtimes: runtimesOf(docker !== null, options.processRuntime),
    ...(kerberos === undefined ? {} : { kerberos }),
    default_image: options.defaultImage,
    agent_version: options.agentVersion,
    node_version: process.version,
  }
}

/** MIT's tools say `Kerberos 5 version 1.20.1`; others are not known to say the same of what goes wrong. */
async function kerberosVersion(): Promise<string | undefined> {
  const said = await ask('klist', ['-V']).catch(() => undefined)
  return /^Kerberos 5 version (\S+)/m.exec(said ?? '')?.[1]
}

export async function diskOf(folder: string): Promise<{ total: number; free: number }> {
  const { bsize, blocks, bavail } = await statfs(folder)
  return { total: bsize * blocks, free: bsize * bavail }
}

async function detectDocker(engine: DockerEngine): Promise<DockerFacts> {
  engine.reset()
  const { version, api } = await engine.version()
  const info = await engine.refresh()
  return {
    version,
    api,
    storage_driver: info.Driver,
    // Engines before 20.10 knew version 1 only and do not say.
    cgroup: `v${info.CgroupVersion ?? '1'} (${info.CgroupDriver})`,
    runtimes: Object.keys(info.Runtimes ?? {}).sort(),
    ...(info.CDISpecDirs?.length ? { cdi: true } : {}),
  }
}

function runtimesOf(docker: boolean, process: boolean): RuntimeName[] {
  return [...(docker ? ['docker' as const] : []), ...(process ? ['process' as const] : [])]
}
