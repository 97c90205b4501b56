// A network of our own on one machine: a bridge, and hosts on it in network namespaces of their own. The
// machine itself is on it too, as .1, so that a test can reach every host. Nothing of it touches a real network.
import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const exec = promisify(execFile)

export interface Bridge {
  name: string
  /** The first three numbers of its addresses; the machine is `${prefix}.1`. */
  prefix: string
  remove(): Promise<void>
}

export interface Host {
  name: string
  address: string
  /** The command line that runs another one on this host. */
  command(line: string[]): string[]
  /** Gives the host another address in place of its own. */
  setAddress(address: string): Promise<void>
  /** Pulls the network cable, or puts it back. */
  unplug(): Promise<void>
  plug(): Promise<void>
}

export interface Lan {
  bridge: Bridge
  hosts: Host[]
  stop(): Promise<void>
}

/** Makes a bridge under the first free name. Its name decides its addresses, so two never share any. */
export async function claimBridge(): Promise<Bridge> {
  await removeAbandoned()
  for (let number = 0; number < 250; number++) {
    const name = `subm${number}`
    if (!(await ip('link', 'add', name, 'type', 'bridge').then(yes, isTaken))) continue
    const giveUp = () => execFileSync('ip', ['link', 'del', name], { stdio: 'ignore' })
    process.once('exit', giveUp)
    await ip('link', 'set', name, 'alias', `${process.pid}`)
    const prefix = `10.213.${number}`
    await ip('addr', 'add', `${prefix}.1/24`, 'dev', name)
    await ip('link', 'set', name, 'up')
    const remove = async () => {
      process.removeListener('exit', giveUp)
      await ip('link', 'del', name)
    }
    return { name, prefix, remove }
  }
  throw new Error('250 test bridges exist (ip link show type bridge).')
}

/** Removes the networks of test processes that were killed: a bridge's alias is its owner's process id. */
async function removeAbandoned() {
  for (const name of (await readdir('/sys/class/net')).filter((one) => /^subm\d+$/.test(one))) {
    const owner = (await readFile(`/sys/class/net/${name}/ifalias`, 'utf8').catch(() => '')).trim()
    if (owner === '' || existsSync(`/proc/${owner}`)) continue
    const hosts = (await readdir('/run/netns').catch(() => [])).filter((one) => one.startsWith(`${name}-`))
    for (const host of hosts) await ip('netns', 'del', host)
    await ip('link', 'del', name)
  }
}

/** Starts a network with so many hosts; the first is `${prefix}.11`. */
export async function startLan(size: number): Promise<Lan> {
  const bridge = await claimBridge()
  const made: { host: Host; remove: () => Promise<void> }[] = []
  const stop = async () => {
    for (const { remove } of made) await remove()
    await bridge.remove()
  }
  try {
    for (let number = 1; number <= size; number++) made.push(await addHost(bridge, number))
  } catch (error) {
    await stop()
    throw error
  }
  return { bridge, hosts: made.map(({ host }) => host), stop }
}

async function addHost(bridge: Bridge, number: number) {
  const name = `${bridge.name}-${number}`
  const cable = `${bridge.name}h${number}`
  await ip('netns', 'add', name)
  const giveUp = () => execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
  process.once('exit', giveUp)
  const inside = (...args: string[]) => ip('-n', name, ...args)

  await ip('link', 'add', cable, 'master', bridge.name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
  await ip('link', 'set', cable, 'up')
  await inside('link', 'set', 'lo', 'up')

  const host: Host = {
    name,
    address: '',
    // Not `ip netns exec`: that mounts a fresh /sys, without the cgroups that a Docker Engine needs.
    command: (line) => ['nsenter', `--net=/run/netns/${name}`, ...line],
    setAddress: async (address) => {
      await inside('addr', 'flush', 'dev', 'eth0', 'scope', 'global')
      await inside('addr', 'add', `${address}/24`, 'dev', 'eth0')
      await inside('link', 'set', 'eth0', 'up')
      await inside('route', 'replace', 'default', 'via', `${bridge.prefix}.1`)
      host.address = address
    },
    unplug: () => ip('link', 'set', cable, 'down'),
    plug: () => ip('link', 'set', cable, 'up'),
  }
  const remove = async () => {
    process.removeListener('exit', giveUp)
    // The cable goes by itself only when the last process in the namespace has.
    await ip('link', 'del', cable)
    await ip('netns', 'del', name)
  }
  await host.setAddress(`${bridge.prefix}.${10 + number}`)
  return { host, remove }
}

async function ip(...args: string[]) {
  await exec('ip', args)
}

const yes = () => true

function isTaken(error: { stderr?: string }) {
  if (error.stderr?.includes('File exists')) return false
  throw error as Error
}
