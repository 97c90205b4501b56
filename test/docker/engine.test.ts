import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import type Docker from 'dockerode'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baseImageTag, loadBaseImage } from '../../resources/demo/base-image.ts'
import { findNode } from '../../cli/node24.js'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'
import { type Lan, startLan } from './lan.ts'

const roots: string[] = []
async function newRoot() {
  const root = await mkdtemp('/tmp/engine-')
  roots.push(root)
  return root
}
afterAll(async () => {
  for (const root of roots) await rm(root, { recursive: true, force: true, maxRetries: 10 })
})

/** Runs a command in a new container and hands back what it printed and how it ended. */
async function run(docker: Docker, Cmd: string[], options: Docker.ContainerCreateOptions = {}) {
  const container = await docker.createContainer({ Image: baseImageTag, Cmd, ...options })
  const stream = await container.attach({ stream: true, stdout: true, stderr: true })
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  docker.modem.demuxStream(stream, stdout, stderr)
  stream.on('end', () => [stdout, stderr].forEach((one) => one.end()))
  await container.start()
  const printed = await Promise.all([text(stdout), text(stderr)])
  await container.wait()
  return { stdout: printed[0], stderr: printed[1], inspect: await container.inspect() }
}

/** Processes, mounts, links and cgroups of this machine that speak of a name. */
async function tracesOf(name: string) {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((one) => /^\d+$/.test(one))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (line.includes(name)) found.push(line)
  }
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  found.push(...mounts.split('\n').filter((line) => line.includes(name)))
  found.push(...(await readdir('/sys/fs/cgroup', { recursive: true })).filter((one) => one.includes(name)))
  return found
}

const links = () =>
  readdir('/sys/class/net').then((names) => names.filter((one) => one.startsWith('subm')).sort())

describe('an engine on this machine', needs.engine, () => {
  let engine: Engine
  let image: Awaited<ReturnType<typeof loadBaseImage>>
  beforeAll(async () => {
    engine = await startEngine({ root: await newRoot() })
    image = await loadBaseImage(engine.docker)
  })
  afterAll(() => engine.stop())

  test('loading the base image again finds it there', async () => {
    expect(await loadBaseImage(engine.docker)).toEqual(image)
  })

  test('the base image has a shell, the small commands and its language', async () => {
    const shell = await run(engine.docker, [
      'sh',
      '-c',
      'seq 3 | tail -n 1; id -un; ls -d /tmp /output; echo no >&2; exit 3',
    ])
    expect(shell).toMatchObject({ stdout: '3\nroot\n/output\n/tmp\n', stderr: 'no\n' })
    expect(shell.inspect.State.ExitCode).toBe(3)

    const hello = {
      python: [
        'python3',
        '-c',
        'import json, ssl, urllib.request, hashlib, sqlite3; print(json.dumps(6 * 7))',
      ],
      node: ['node', '-p', '6 * 7'],
    }[image.language]
    expect(await run(engine.docker, hello)).toMatchObject({ stdout: '42\n', stderr: '' })
  })

  test('limits are set, shown by inspect, and kept', async () => {
    const read =
      'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; df -k /dev/shm | tail -n 1'
    const HostConfig = {
      Memory: 64 << 20,
      MemorySwap: 64 << 20,
      NanoCpus: 500_000_000,
      ShmSize: 32 << 20,
      Init: true,
    }
    const { stdout, inspect } = await run(engine.docker, ['sh', '-c', read], { HostConfig })
    expect(inspect.HostConfig).toMatchObject(HostConfig)
    expect(stdout).toMatch(/^67108864$/m)
    expect(stdout).toMatch(/^shm +32768 /m)
  })

  test('a container that takes more memory than it has is killed, and it shows', async () => {
    const { inspect } = await run(engine.docker, ['sh', '-c', 'tail /dev/zero'], {
      HostConfig: { Memory: 32 << 20, MemorySwap: 32 << 20 },
    })
    expect(inspect.State).toMatchObject({ OOMKilled: true, ExitCode: 137 })
  })

  test('with no network there is the loopback alone, with the host network what the machine has', async () => {
    const list = ['cat', '/proc/net/dev']
    const count = (table: string) => table.trim().split('\n').length - 2
    const none = await run(engine.docker, list, { HostConfig: { NetworkMode: 'none' } })
    expect(count(none.stdout)).toBe(1)
    const shared = await run(engine.docker, list, { HostConfig: { NetworkMode: 'host' } })
    for (const link of await readdir('/sys/class/net')) expect(shared.stdout).toContain(`${link}:`)
  })

  test('a container on the default network reaches this machine at the gateway, and its port is published', async () => {
    const server = http.createServer((_, reply) => reply.end('from the machine'))
    server.listen(0, engine.gateway)
    await once(server, 'listening')
    const url = `http://${engine.gateway}:${(server.address() as AddressInfo).port}`
    const fetched = await run(
      engine.docker,
      {
        python: ['python3', '-c', `import urllib.request as u; print(u.urlopen("${url}").read().decode())`],
        node: ['node', '-e', `fetch("${url}").then((r) => r.text()).then(console.log)`],
      }[image.language],
    )
    server.close()
    expect(fetched).toMatchObject({ stdout: 'from the machine\n', stderr: '' })

    const Cmd = {
      python: ['python3', '-u', '-m', 'http.server', '8000'],
      node: [
        'node',
        '-e',
        'require("http").createServer((_, r) => r.end("up")).listen(8000, () => console.log("Serving"))',
      ],
    }[image.language]
    const container = await engine.docker.createContainer({
      Image: baseImageTag,
      Cmd,
      ExposedPorts: { '8000/tcp': {} },
      HostConfig: { PortBindings: { '8000/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] } },
    })
    await container.start()
    const log = await container.logs({ follow: true, stdout: true, stderr: true })
    await once(log, 'data')
    const { NetworkSettings } = await container.inspect()
    const port = NetworkSettings.Ports['8000/tcp']?.[0]?.HostPort
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200)
    await container.remove({ force: true })
  })
})

test('engines run side by side and leave nothing behind', needs.engine, async () => {
  const before = await links()
  const both = [await newRoot(), await newRoot()]
  const engines = await Promise.all(both.map((root) => startEngine({ root })))
  for (const { docker } of engines) {
    await loadBaseImage(docker)
    const container = await docker.createContainer({ Image: baseImageTag, Cmd: ['sleep', '1000'] })
    await container.start()
    expect(await docker.listContainers()).toHaveLength(1)
  }
  const processes = await tracesOf(both[0]!)
  expect(processes.length).toBeGreaterThan(2)

  await Promise.all(engines.map((engine) => engine.stop()))
  for (const root of both) expect(await tracesOf(root.replace('/tmp/', ''))).toEqual([])
  expect(await links()).toEqual(before)
})

test('containers of a killed engine go when it is stopped', needs.engine, async () => {
  const root = await newRoot()
  const engine = await startEngine({ root })
  await loadBaseImage(engine.docker)
  const container = await engine.docker.createContainer({ Image: baseImageTag, Cmd: ['sleep', '1000'] })
  await container.start()
  const { Pid } = (await container.inspect()).State
  process.kill(engine.pid, 'SIGKILL')
  await expect.poll(() => engine.docker.ping().catch(() => 'gone')).toBe('gone')
  expect(await readFile(`/proc/${Pid}/cmdline`, 'utf8')).toContain('sleep')

  await engine.stop()
  expect(await tracesOf(root.replace('/tmp/', ''))).toEqual([])
  // A dead process may still await its burial by init; it has no command line any more.
  expect(await readFile(`/proc/${Pid}/cmdline`, 'utf8').catch(() => '')).toBe('')
})

test('what a killed test left of its network goes when the next begins', needs.namespaces, async () => {
  const script = `import('${path.join(import.meta.dirname, 'lan.ts')}')
    .then(({ startLan }) => startLan(1))
    .then((lan) => (console.log(lan.hosts[0].name), process.kill(process.pid, 'SIGKILL')))`
  const killed = (
    await text(spawn(findNode(), ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout)
  ).trim()
  expect(await readdir('/run/netns')).toContain(killed)
  const lan = await startLan(0)
  try {
    expect(await readdir('/run/netns')).not.toContain(killed)
    expect((await links()).filter((name) => name.startsWith(`${killed.split('-')[0]}h`))).toEqual([])
  } finally {
    await lan.stop()
  }
})

describe('hosts on a network of our own', needs.engine, () => {
  let lan: Lan
  beforeAll(async () => {
    lan = await startLan(2)
  })
  afterAll(() => lan.stop())

  /** Serves its host's name on a host, and ends with the test. */
  async function serveName(index: number) {
    const host = lan.hosts[index]!
    const script = `require("http").createServer((_, r) => r.end(${JSON.stringify(host.name)})).listen(80, () => console.log("up"))`
    const [command = '', ...rest] = host.command([findNode(), '-e', script])
    const server = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(server.stdout, 'data')
    return server
  }

  /** What a host gets from an address, or the reason why nothing. */
  async function fetchFrom(index: number, address: string) {
    const script = `fetch("http://${address}", { signal: AbortSignal.timeout(2000) }).then((r) => r.text()).catch((e) => e.name).then((t) => (console.log(t), process.exit()))`
    const [command = '', ...rest] = lan.hosts[index]!.command([findNode(), '-e', script])
    return (await text(spawn(command, rest).stdout)).trim()
  }

  test('they reach each other, keep their cables apart, and take new addresses', async () => {
    const [first, second] = lan.hosts
    const server = await serveName(0)
    try {
      expect(await fetchFrom(1, first!.address)).toBe(first!.name)
      expect(await (await fetch(`http://${first!.address}`)).text()).toBe(first!.name)

      await first!.unplug()
      expect(await fetchFrom(1, first!.address)).not.toBe(first!.name)
      await first!.plug()
      await expect.poll(() => fetchFrom(1, first!.address), { timeout: 20_000 }).toBe(first!.name)

      const old = first!.address
      await first!.setAddress(`${lan.bridge.prefix}.77`)
      await expect.poll(() => fetchFrom(1, first!.address), { timeout: 20_000 }).toBe(first!.name)
      expect(await fetchFrom(1, old)).not.toBe(first!.name)
      expect(second!.address).toBe(`${lan.bridge.prefix}.12`)
    } finally {
      server.kill()
    }
  })

  test('an engine on a host publishes ports there, and its containers reach the other host', async () => {
    const [first] = lan.hosts
    const server = await serveName(1)
    const root = await newRoot()
    const engine = await startEngine({ root, host: first! })
    try {
      const { language } = await loadBaseImage(engine.docker)
      const url = `http://${lan.hosts[1]!.address}`
      const { stdout } = await run(
        engine.docker,
        {
          python: ['python3', '-c', `import urllib.request as u; print(u.urlopen("${url}").read().decode())`],
          node: ['node', '-e', `fetch("${url}").then((r) => r.text()).then(console.log)`],
        }[language],
      )
      expect(stdout).toBe(`${lan.hosts[1]!.name}\n`)
    } finally {
      await engine.stop()
      server.kill()
    }
    expect(await tracesOf(root.replace('/tmp/', ''))).toEqual([])
  })
})
