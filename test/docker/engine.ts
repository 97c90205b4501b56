// A private Docker Engine for tests: its own containerd, data, socket and network, whatever the machine runs.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { type Bridge, claimBridge, type Host } from './lan.ts'

const exec = promisify(execFile)

export interface Engine {
  /** Path of the Unix socket that the engine answers on. */
  socket: string
  docker: Docker
  /** The address at which its containers, on their default network, reach this machine or its host. */
  gateway: string
  readonly pid: number
  /** kill -9 of dockerd; containers go on. */
  crash(): Promise<void>
  /** Starts dockerd again on what it left. */
  revive(): Promise<void>
  /** Removes the containers, ends the engine and takes back all that it left on the machine. */
  stop(): Promise<void>
}

/**
 * Starts an engine with its files below `root`, on this machine or on a host of a test network. Containers get a
 * network of their own; those with `--network host` see the machine's, or the host's.
 */
export async function startEngine({ root, host }: { root: string; host?: Host }): Promise<Engine> {
  const at = (name: string) => path.join(root, name)
  const socket = at('docker.sock')
  const containerdSocket = at('exec/containerd.sock')
  // The kernel takes no longer path for a Unix socket; containerd appends ".ttrpc".
  if (containerdSocket.length > 100) throw new Error(`${root} is too long a path for an engine's sockets.`)

  await mkdir(at('exec'), { recursive: true })
  const bridge = host ? undefined : await claimBridge()
  const cgroup = `submarine-${path.basename(root)}-${process.pid}`
  await writeFile(at('containerd.toml'), containerdConfig({ root, socket: containerdSocket }))
  await writeFile(
    at('daemon.json'),
    JSON.stringify(dockerConfig({ root, socket, containerdSocket, cgroup, bridge })),
  )

  const containerd = start('containerd', ['--config', at('containerd.toml')], at('containerd.log'), host)
  const startDockerd = () => start('dockerd', ['--config-file', at('daemon.json')], at('dockerd.log'), host)
  let dockerd = startDockerd()
  const docker = new Docker({ socketPath: socket })

  const stop = async () => {
    // What cannot be removed in good order goes with the engine.
    await removeContainers(docker).catch(() => undefined)
    await removeNetworks(docker).catch(() => undefined)
    await end(dockerd)
    await killCgroup(cgroup)
    await end(containerd)
    await killShims(containerdSocket)
    await unmountBelow(root)
    await removeCgroup(cgroup)
    await bridge?.remove()
    for (const name of ['data', 'exec', 'containerd'])
      await rm(at(name), { recursive: true, force: true, maxRetries: 10 })
    await rm(socket, { force: true })
  }
  try {
    await untilAnswering(docker, [containerd, dockerd])
  } catch (error) {
    const log = await readFile(at('dockerd.log'), 'utf8').catch(() => '')
    await stop()
    throw new Error(`No Docker Engine came up: ${String(error)}\n${log.slice(-3000)}`, { cause: error })
  }
  const gateway = bridge ? `${bridge.prefix}.1` : await bridgeGateway(docker)
  const crash = async () => {
    const exited = once(dockerd, 'exit')
    dockerd.kill('SIGKILL')
    await exited
  }
  const revive = async () => {
    await rm(at('docker.pid'), { force: true })
    dockerd = startDockerd()
    await untilAnswering(docker, [containerd, dockerd])
  }
  const pid = () => dockerd.pid ?? 0
  return { socket, docker, gateway, stop, crash, revive, get pid() { return pid() } } // prettier-ignore
}

/** Our own file in place of /etc/docker/daemon.json, which would clash with flags. */
function dockerConfig(options: {
  root: string
  socket: string
  containerdSocket: string
  cgroup: string
  bridge: Bridge | undefined
}) {
  return {
    'data-root': path.join(options.root, 'data'),
    'exec-root': path.join(options.root, 'exec'),
    pidfile: path.join(options.root, 'docker.pid'),
    hosts: [`unix://${options.socket}`],
    // Otherwise dockerd would use the machine's containerd where one runs, and share its containers.
    containerd: options.containerdSocket,
    // One cgroup above all its containers, so that none can outlive the engine unseen.
    'cgroup-parent': `/${options.cgroup}`,
    // systemd, the default on cgroup v2, would not let the engine choose that cgroup.
    'exec-opts': ['native.cgroupdriver=cgroupfs'],
    ...(options.bridge && {
      // docker0 belongs to the machine's own Docker.
      bridge: options.bridge.name,
      // The machine's firewall and forwarding are shared with its own Docker and with other engines. Containers
      // still reach the machine and each other, and ports are published by docker-proxy; only the world is out of
      // reach. On a host of its own the engine sets all of this up as usual.
      iptables: false,
      ip6tables: false,
      'ip-forward': false,
      'ip-masq': false,
    }),
  }
}

function containerdConfig({ root, socket }: { root: string; socket: string }) {
  // The Kubernetes interface would listen on a port of the machine; devmapper only warns.
  return `version = 2
root = "${path.join(root, 'containerd')}"
state = "${path.join(root, 'exec/containerd')}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "${socket}"
`
}

/** Starts a daemon that ends when this process does, however that comes. */
function start(name: string, args: string[], log: string, host: Host | undefined): ChildProcess {
  const line = ['setpriv', '--pdeathsig', 'TERM', name, ...args]
  const [command = name, ...rest] = host ? host.command(line) : line
  const output = openSync(log, 'a')
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`
  const child = spawn(command, rest, {
    stdio: ['ignore', output, output],
    env: { ...process.env, PATH: path },
  })
  closeSync(output)
  return child
}

async function untilAnswering(docker: Docker, daemons: ChildProcess[]) {
  const deadline = Date.now() + 60_000
  for (;;) {
    const refusal = await docker.ping().then(
      () => undefined,
      (error: Error) => error,
    )
    if (!refusal) return
    if (!daemons.every(isRunning)) throw new Error('a daemon ended')
    if (Date.now() > deadline) throw refusal
    await delay(100)
  }
}

async function bridgeGateway(docker: Docker) {
  const network = (await docker.getNetwork('bridge').inspect()) as { IPAM: { Config: { Gateway: string }[] } }
  return network.IPAM.Config[0]?.Gateway ?? ''
}

async function removeContainers(docker: Docker) {
  const containers = await docker.listContainers({ all: true })
  const remove = ({ Id }: { Id: string }) => docker.getContainer(Id).remove({ force: true, v: true })
  // Some may be going by themselves already.
  await Promise.allSettled(containers.map(remove))
}

/** A bridge outlives its engine. */
async function removeNetworks(docker: Docker) {
  const networks = await docker.listNetworks({ filters: { type: ['custom'] } })
  await Promise.allSettled(networks.map(({ Id }) => docker.getNetwork(Id).remove()))
}

function isRunning(child: ChildProcess) {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

async function end(child: ChildProcess) {
  if (!isRunning(child)) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 30_000)
  await exited
  clearTimeout(late)
}

/** Where a cgroup lies: once on cgroup v2, once for each controller on v1. */
async function cgroupFolders(name: string) {
  const folders = [path.join('/sys/fs/cgroup', name)]
  for (const controller of await readdir('/sys/fs/cgroup'))
    folders.push(path.join('/sys/fs/cgroup', controller, name))
  return folders
}

/** Ends containers that a killed engine left running. */
async function killCgroup(name: string) {
  for (const folder of await cgroupFolders(name)) {
    const names = await readdir(folder, { recursive: true }).catch(() => [])
    for (const file of names.filter((one) => path.basename(one) === 'cgroup.procs')) {
      const pids = await readFile(path.join(folder, file), 'utf8').catch(() => '')
      for (const pid of pids.split('\n').filter(Boolean)) kill(Number(pid))
    }
  }
}

/** Ends what watched over those containers; each names its containerd on its command line. */
async function killShims(containerdSocket: string) {
  const lineOf = (pid: string) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const line = await lineOf(pid)
    if (!line.includes('containerd-shim') || !line.split('\0').includes(containerdSocket)) continue
    kill(Number(pid))
    while ((await lineOf(pid)) === line) await delay(10)
  }
}

function kill(pid: number) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Docker leaves its network namespaces mounted, and a killed one its containers' file systems. */
async function unmountBelow(root: string) {
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  const points = mounts.split('\n').map((line) => line.split(' ')[1] ?? '')
  for (const point of points.filter((one) => one.startsWith(`${root}/`)).reverse())
    await exec('umount', ['-l', point])
}

async function removeCgroup(name: string) {
  for (const folder of await cgroupFolders(name)) {
    const inside = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])
    const folders = inside
      .filter((entry) => entry.isDirectory())
      .map((entry) => path.join(entry.parentPath, entry.name))
    for (const inner of folders.sort().reverse()) await removed(inner)
    await removed(folder)
  }
}

/** A cgroup stays busy until the kernel has buried its last process. */
async function removed(folder: string) {
  const deadline = Date.now() + 10_000
  for (;;) {
    const error = await rmdir(folder).catch((cause: NodeJS.ErrnoException) => cause)
    if (!error || ['ENOENT', 'ENOTDIR'].includes(error.code ?? '')) return
    if (error.code !== 'EBUSY' || Date.now() > deadline) throw error
    await delay(50)
  }
}
