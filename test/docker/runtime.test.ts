// The Docker runtime on a real engine.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import path from 'node:path'
import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DockerEngine } from '../../agent/node/docker/engine.ts'
import { networkName } from '../../agent/node/docker/network.ts'
import { DockerRuntime } from '../../agent/node/docker/runtime.ts'
import { taskHost } from '../../agent/node/docker/spec.ts'
import { detectInventory } from '../../agent/node/detect/inventory.ts'
import {
  DoubleBlobs,
  DoubleCluster,
  DoubleSpace,
  DoubleStreams,
  experimentRow,
  taskRow,
} from '../../agent/node/doubles.ts'
import { sinceBoot, writeDeadlines } from '../../agent/node/lease/deadlines.ts'
import { ensureKeeper, keeperOf } from '../../agent/node/lease/keeper-process.ts'
import { wasStopped } from '../../agent/node/lease/stopped.ts'
import { LogCursor } from '../../agent/node/log/cursor.ts'
import { NodeReconciler } from '../../agent/node/reconcile.ts'
import type { Found, Launch } from '../../agent/node/runtime.ts'
import type { LogRecord } from '../../agent/store/store.ts'
import { isFinal } from '../../contract/index.ts'
import { baseImageTag, loadBaseImage } from '../../resources/demo/base-image.ts'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'

const MiB = 1024 ** 2
const never = new AbortController().signal
const owner = { cluster: 'cluster-1', node: 'node-1' }

describe('containers on a real engine', needs.engine, () => {
  let root: string
  let engine: Engine
  let folder: string
  let number = 0

  beforeAll(async () => {
    root = await mkdtemp('/tmp/runtime-')
    engine = await startEngine({ root: path.join(root, 'engine') })
    await loadBaseImage(engine.docker)
  })
  afterAll(async () => {
    await engine.stop()
    await rm(root, { recursive: true })
  })
  beforeEach(async () => {
    folder = path.join(root, `attempt-${++number}`)
    for (const name of ['code', 'output']) await mkdir(path.join(folder, name), { recursive: true })
  })
  afterEach(async () => {
    for (const { Id } of await engine.docker.listContainers({ all: true }))
      await engine.docker.getContainer(Id).remove({ force: true })
  })

  /** A runtime as an agent makes it at its start; two of them know nothing of each other. */
  const newRuntime = (of = owner) =>
    new DockerRuntime({ engine: new DockerEngine(engine.socket), owner: of, defaultImage: baseImageTag })

  const launch = (script: string, change: Partial<Launch> = {}): Launch => ({
    task: `exp-1-worker-${number}`,
    attempt: 1,
    workload: 'exp-1',
    image: null,
    command: ['sh', '-c', script],
    env: {},
    resources: { cpu: 0.5, memory: 64 * MiB, gpu: 0, disk: 0 },
    gpus: [],
    person: { name: 'ana', uid: 20_007 },
    asks: {},
    codeFolder: path.join(folder, 'code'),
    outputFolder: path.join(folder, 'output'),
    ownFolder: path.join(folder, 'own'),
    caFile: null,
    ...change,
  })

  const inspect = (found: Found) => engine.docker.getContainer(found.handle).inspect()
  const whole = (runtime: DockerRuntime, found: Found) => Array.fromAsync(runtime.log(found, null, never))
  const lines = (records: readonly LogRecord[]) => records.map(({ l }) => l)

  async function untilLine(runtime: DockerRuntime, found: Found, line: string): Promise<LogRecord[]> {
    const seen: LogRecord[] = []
    for await (const record of runtime.log(found, null, never)) {
      seen.push(record)
      if (record.l === line) return seen
    }
    throw new Error(`it ended without the line ${line}: ${lines(seen).join('|')}`)
  }

  test('the engine is detected as it is', async () => {
    const inventory = await detectInventory({
      dataDir: root,
      engine: new DockerEngine(engine.socket),
      processRuntime: false,
      defaultImage: baseImageTag,
      agentVersion: '0.1.0',
      gpus: () => Promise.resolve([]),
    })
    const version = (await engine.docker.version()) as unknown as { Version: string }
    expect(inventory.docker?.version).toBe(version.Version)
    expect(inventory.docker?.cgroup).toMatch(/^v[12] \(cgroupfs\)$/)
    expect(inventory.runtimes).toEqual(['docker'])
  })

  test('without an engine there is none, and no error', async () => {
    const nobody = new DockerEngine(path.join(root, 'no.sock'))
    const options = {
      dataDir: root,
      engine: nobody,
      processRuntime: true,
      defaultImage: null,
      agentVersion: '0',
      gpus: () => Promise.resolve([]),
    }
    expect(await detectInventory(options)).toMatchObject({ docker: null, runtimes: ['process'] })
  })

  test('an attempt gets its limits, folders, environment and our defaults, and they hold inside', async () => {
    await writeFile(path.join(folder, 'code', 'hello.txt'), 'from the code folder')
    await writeFile(path.join(folder, 'ca.pem'), 'a certificate')
    const runtime = newRuntime()
    const script = [
      'pwd; cat hello.txt; echo',
      'cat /run/submarine/ca.pem; echo " at $SUBMARINE_CA"',
      'echo "$GREETING $PYTHONUNBUFFERED $NVIDIA_VISIBLE_DEVICES $SUBMARINE_OUTPUT"',
      'df -k /dev/shm | tail -n 1 | cut -c -24',
      'cat /proc/1/comm; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null',
      'echo result > /output/file; touch /code/made',
    ].join('; ')
    const found = await runtime.start(
      launch(script, { env: { GREETING: 'hello' }, caFile: path.join(folder, 'ca.pem') }),
    )
    expect((await runtime.wait(found, never)).exitCode).toBe(0)

    const { Config, HostConfig, Name } = await inspect(found)
    expect(Name).toBe(`/sdc-exp-1-worker-${number}-1`)
    expect(HostConfig).toMatchObject({
      Memory: 64 * MiB,
      MemorySwap: 64 * MiB,
      NanoCpus: 500_000_000,
      ShmSize: 32 * MiB,
      Init: true,
      PidsLimit: 16384,
      SecurityOpt: ['no-new-privileges'],
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'json-file', Config: { 'max-size': '32m', 'max-file': '4' } },
      CapDrop: ['ALL'],
      NetworkMode: networkName(owner, undefined),
    })
    expect(Config.Labels).toMatchObject({
      'submarine.cluster': 'cluster-1',
      'submarine.node': 'node-1',
      'submarine.task': `exp-1-worker-${number}`,
      'submarine.attempt': '1',
    })
    const told = lines(await whole(runtime, found))
    expect(told.slice(0, 4)).toEqual([
      '/code',
      'from the code folder',
      'a certificate at /run/submarine/ca.pem',
      'hello 1 void /output',
    ])
    expect(told[4]).toMatch(/^shm +32768/)
    expect(told.slice(5)).toEqual([expect.stringMatching(/init|tini/), String(64 * MiB)])
    expect(await readFile(path.join(folder, 'output', 'file'), 'utf8')).toBe('result\n')
  })

  test('an image of some other user runs as its owner all the same, who may write to /output', async () => {
    // As the reconciler makes the folders.
    const { AttemptFolders } = await import('../../agent/node/task/folders.ts')
    const folders = new AttemptFolders(folder)
    await folders.open()
    const made = await folders.make('t', 1, undefined)
    await engine.docker
      .createContainer({ Image: baseImageTag, Cmd: ['true'] })
      .then((container) => container.commit({ repo: 'other-user', changes: 'USER 1234' }))
    const runtime = newRuntime()
    const found = await runtime.start(
      launch('id -u; echo x > /output/file; echo y > /code/file', {
        image: 'other-user:latest',
        codeFolder: made.code,
        outputFolder: made.output,
        ownFolder: made.own,
      }),
    )
    expect((await runtime.wait(found, never)).exitCode).toBe(0)
    expect(lines(await whole(runtime, found))).toEqual(['20007'])
    await engine.docker.getImage('other-user:latest').remove({ force: true })
  })

  test('a task reaches its agent on the host, through the bridge and without one', async () => {
    const server = http.createServer((_, reply) => reply.end('the agent'))
    server.listen(0, '0.0.0.0')
    await once(server, 'listening')
    const url = `http://${taskHost}:${(server.address() as AddressInfo).port}`
    const fetch = [
      'python3',
      '-c',
      `import urllib.request as u; print(u.urlopen("${url}", timeout=20).read().decode())`,
    ]
    try {
      const bridged = newRuntime()
      const first = await bridged.start(launch('', { command: fetch }))
      await bridged.wait(first, never)
      expect(lines(await whole(bridged, first))).toEqual(['the agent'])
      const options = { engine: new DockerEngine(engine.socket), owner, defaultImage: baseImageTag }
      const near = new DockerRuntime({ ...options, network: 'host' })
      const second = await near.start(launch('', { command: fetch, attempt: 2 }))
      await near.wait(second, never)
      expect(lines(await whole(near, second))).toEqual(['the agent'])
      expect((await inspect(second)).HostConfig.NetworkMode).toBe('host')
    } finally {
      server.close()
    }
  })

  test('an entry point of the image does not come before the command', async () => {
    await engine.docker
      .createContainer({ Image: baseImageTag, Cmd: ['true'] })
      .then((container) => container.commit({ repo: 'with-entry', changes: 'ENTRYPOINT ["echo", "entry"]' }))
    const runtime = newRuntime()
    const found = await runtime.start(
      launch('', { image: 'with-entry:latest', command: ['echo', 'as it is'] }),
    )
    await runtime.wait(found, never)
    expect(lines(await whole(runtime, found))).toEqual(['as it is'])
    await engine.docker.getImage('with-entry:latest').remove({ force: true })
  })

  test('an image that nobody has is missing, and it is said what to do', async () => {
    const starting = newRuntime().start(launch('true', { image: '127.0.0.1:9/nobody/has:this' }))
    await expect(starting).rejects.toMatchObject({ name: 'StartFailure', code: 'image_missing' })
    await expect(starting).rejects.toThrow(
      /127\.0\.0\.1:9\/nobody\/has:this is not on this host.*submarine image import/,
    )
    const nothing = new DockerRuntime({ engine: new DockerEngine(engine.socket), owner, defaultImage: null })
    await expect(nothing.start(launch('true'))).rejects.toMatchObject({ code: 'image_missing' })
  })

  test('a command that is not in the image ends as shells say it, and its log says which', async () => {
    const runtime = newRuntime()
    const found = await runtime.start(launch('', { command: ['no-such-program'] }))
    expect((await runtime.wait(found, never)).exitCode).toBe(127)
    expect(lines(await whole(runtime, found)).join()).toContain('no-such-program')
  })

  test('a container that the engine refuses cannot start, and nothing is left of it', async () => {
    const runtime = newRuntime()
    const starting = runtime.start(launch('true', { codeFolder: path.join(folder, 'not-there') }))
    await expect(starting).rejects.toMatchObject({ name: 'StartFailure', code: 'start_failed' })
    await expect(starting).rejects.toThrow('not-there')
    expect(await runtime.list()).toEqual([])
  })

  test('without an answer of the engine nothing is known to fail', async () => {
    const runtime = new DockerRuntime({
      engine: new DockerEngine(path.join(root, 'no.sock')),
      owner,
      defaultImage: baseImageTag,
    })
    await expect(runtime.start(launch('true'))).rejects.not.toMatchObject({ name: 'StartFailure' })
    await expect(runtime.list()).rejects.toThrow()
  })

  test('a container that was created by an agent that died is started, and a started one is not started again', async () => {
    const script = 'echo started; sleep 600'
    const first = await newRuntime().start(launch(script))
    const again = await newRuntime().start(launch(script))
    expect(again).toEqual(first)
    await engine.docker.getContainer(first.handle).remove({ force: true })

    const { containerSpec } = await import('../../agent/node/docker/spec.ts')
    const host = { cpus: 1, cpuQuota: true, network: 'bridge' } as const
    const { id } = await engine.docker.createContainer(
      containerSpec(launch(script), baseImageTag, owner, host),
    )
    const runtime = newRuntime()
    expect(await runtime.list()).toMatchObject([{ handle: id, startedAt: null, exit: null }])
    const found = await runtime.start(launch(script))
    expect(found.handle).toBe(id)
    await untilLine(runtime, found, 'started')
    expect(await engine.docker.listContainers({ all: true })).toHaveLength(1)
  })

  test('a container of somebody else in the way is said to be one', async () => {
    await engine.docker.createContainer({
      Image: baseImageTag,
      name: `sdc-exp-1-worker-${number}-1`,
      Cmd: ['true'],
    })
    const starting = newRuntime().start(launch('true'))
    await expect(starting).rejects.toMatchObject({ code: 'start_failed' })
    await expect(starting).rejects.toThrow('stands in the way')
  })

  test('agents that share an engine see their own containers only', async () => {
    const other = newRuntime({ cluster: 'cluster-1', node: 'node-2' })
    const stranger = newRuntime({ cluster: 'cluster-2', node: 'node-1' })
    const found = await newRuntime().start(launch('sleep 600'))
    expect(await other.list()).toEqual([])
    expect(await stranger.list()).toEqual([])
    expect(await newRuntime().list()).toEqual([found])
  })

  test('stopping asks first: what listens to SIGTERM ends in order', async () => {
    const runtime = newRuntime()
    const found = await runtime.start(
      launch('trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.1; done'),
    )
    await untilLine(runtime, found, 'up')
    await runtime.stop(found, 60)
    expect((await runtime.wait(found, never)).exitCode).toBe(5)
    expect(lines(await whole(runtime, found))).toEqual(['up', 'bye'])
    // It has ended; asking again is no error.
    await runtime.stop(found, 60)
  })

  test('a PID 1 that ignores SIGTERM is killed after its grace', async () => {
    const runtime = newRuntime()
    const found = await runtime.start(launch('trap "" TERM; echo up; while :; do sleep 0.1; done'))
    await untilLine(runtime, found, 'up')
    const began = Date.now()
    await runtime.stop(found, 2)
    expect(Date.now() - began).toBeGreaterThanOrEqual(2000)
    expect(await runtime.wait(found, never)).toMatchObject({ exitCode: 137, oomKilled: false })
  })

  test('a task that takes more memory than it has is shown to have been killed for it', async () => {
    const runtime = newRuntime()
    const greedy = ['python3', '-c', 'x = bytearray(512 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1']
    const found = await runtime.start(
      launch('', { command: greedy, resources: { cpu: 1, memory: 32 * MiB, gpu: 0, disk: 0 } }),
    )
    expect(await runtime.wait(found, never)).toMatchObject({ exitCode: 137, oomKilled: true, failure: null })
  })

  test('tasks that are the first on a host and start at once share one network; of two of its name one is left', async () => {
    const fresh = { cluster: 'cluster-1', node: 'node-7' }
    const runtime = newRuntime(fresh)
    const start = (attempt: number) => runtime.start(launch('true', { attempt }))
    const found = await Promise.all([1, 2, 3, 4, 5, 6].map(start))
    for (const one of found) expect((await runtime.wait(one, never)).exitCode).toBe(0)
    const name = networkName(fresh, undefined)
    const known = () => engine.docker.listNetworks({ filters: { name: [name] } })
    expect(await known()).toHaveLength(1)
    await engine.docker.createNetwork({ Name: name, CheckDuplicate: false, Driver: 'bridge' })
    expect(await known()).toHaveLength(2)
    expect((await runtime.wait(await start(7), never)).exitCode).toBe(0)
    expect(await known()).toHaveLength(1)
  })

  test('a container that somebody removed is lost', async () => {
    const runtime = newRuntime()
    const found = await runtime.start(launch('sleep 600'))
    const waiting = runtime.wait(found, never)
    await engine.docker.getContainer(found.handle).remove({ force: true })
    expect((await waiting).failure?.code ?? 'killed').toMatch(/container_lost|killed/)
    expect((await runtime.wait(found, never)).failure?.code).toBe('container_lost')
    expect(await whole(runtime, found)).toEqual([])
    await runtime.remove(found)
    await runtime.stop(found, 1)
  })

  test('the lease keeper ends a container whose lease is over, with no agent alive, and leaves others alone', async () => {
    const runtime = newRuntime()
    const [leased, held] = [await runtime.start(launch('trap "exit 5" TERM; sleep 600 & wait')), await runtime.start(launch('sleep 600', { attempt: 2 }))] // prettier-ignore
    const dataDir = path.join(folder, 'agent')
    const lease = { task: leased.task, attempt: 1, runtime: 'docker', seconds: 60, graceSeconds: 5 } as const
    const heard = sinceBoot() - 59_000
    writeDeadlines(dataDir, { heard, dockerSocket: engine.socket, leases: [lease] })
    ensureKeeper(dataDir)
    expect((await runtime.wait(leased, never)).exitCode).toBe(5)
    // By its lease and the few seconds that a living agent would have had to do it, not at once.
    expect(sinceBoot()).toBeGreaterThanOrEqual(heard + 60_000)
    expect(wasStopped(dataDir, leased.task, 1)).toBe(true)
    expect((await inspect(held)).State.Running).toBe(true)
    process.kill(keeperOf(dataDir)?.pid ?? 0, 'SIGKILL')
  })

  test('a log is whole: both streams, long lines, bytes that are no text, no line end at the end', async () => {
    const runtime = newRuntime()
    const script = `import sys, os
for i in range(3000): print(i)
print('é' * 100000)
os.write(1, b'a\\xffb\\n')
for i in range(3000): print(i, file=sys.stderr)
os.write(1, b'no end')`
    const found = await runtime.start(launch('', { command: ['python3', '-c', script] }))
    const records = await whole(runtime, found)
    const out = lines(records.filter(({ s }) => s === 'o'))
    const numbers = Array.from({ length: 3000 }, (_, i) => String(i))
    expect(out.slice(0, 3000)).toEqual(numbers)
    const long = out.slice(3000, -2)
    expect(long.join('')).toBe('é'.repeat(100_000))
    expect(Math.max(...long.map((piece) => Buffer.byteLength(piece)))).toBe(64 * 1024)
    expect(out.slice(-2)).toEqual(['a\ufffdb', 'no end'])
    expect(lines(records.filter(({ s }) => s === 'e'))).toEqual(numbers)
  })

  test('a log that is taken up again and again, anywhere, has no gap and no repeat', async () => {
    const script = `import sys
for i in range(4000):
  print('o', i)
  print('e', i, file=sys.stderr)
print('x' * 300000)`
    const started = await newRuntime().start(launch('', { command: ['python3', '-c', script] }))
    const kept: LogRecord[] = []
    for (let cut = 1; ; cut = (cut * 7) % 1999) {
      // A new runtime each time, which knows only what is kept.
      const times = kept.slice(-2500).map(({ t }) => t)
      const resume = LogCursor.after(times, times.length === kept.length, 1000).resume()
      const over = new AbortController()
      let taken = 0
      for await (const record of newRuntime().log(started, resume, over.signal)) {
        kept.push(record)
        if (++taken === cut) break
      }
      over.abort()
      if (taken < cut) break
    }
    for (const stream of ['o', 'e'] as const) {
      const numbered = lines(kept.filter(({ s, l }) => s === stream && l.startsWith(stream)))
      expect(numbered).toEqual(Array.from({ length: 4000 }, (_, i) => `${stream} ${i}`))
    }
    expect(lines(kept.filter(({ l }) => l.startsWith('x'))).join('')).toBe('x'.repeat(300_000))
  })

  test('connections to the engine that break lose no line and no exit code', async () => {
    const cut = new Set<net.Socket>()
    const relay = net.createServer((client) => {
      const server = net.connect(engine.socket)
      for (const socket of [client, server]) {
        cut.add(socket)
        socket.on('error', () => undefined).on('close', () => cut.delete(socket))
      }
      client.pipe(server).pipe(client)
    })
    const socket = path.join(root, 'relay.sock')
    relay.listen(socket)
    await once(relay, 'listening')
    try {
      const runtime = new DockerRuntime({
        engine: new DockerEngine(socket),
        owner,
        defaultImage: baseImageTag,
      })
      const script = 'i=0; until [ -e go ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 4'
      const found = await runtime.start(launch(script))
      const waiting = runtime.wait(found, never)
      const told: string[] = []
      for await (const { l } of runtime.log(found, null, never)) {
        told.push(l)
        if (told.length % 40 === 0) for (const one of cut) one.destroy()
        if (told.length === 130) await writeFile(path.join(folder, 'code', 'go'), '')
      }
      expect((await waiting).exitCode).toBe(4)
      expect(told).toEqual(told.map((_, i) => String(i)))
      expect(told).toEqual(lines(await whole(newRuntime(), found)))
    } finally {
      for (const one of cut) one.destroy()
      relay.close()
    }
  })

  /** The engine as one in a Swarm that has no leader: what asks the Swarm is not answered, all else is. */
  async function engineWithoutLeader(socket: string) {
    const state = { leaderless: false, unanswered: 0 }
    const server = http.createServer((request, response) => {
      const { url = '', method, headers } = request
      if (state.leaderless && /\/(info|networks)(\?|\/|$)/.test(url)) return void state.unanswered++
      const onward = http.request({ socketPath: engine.socket, path: url, method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      })
      onward.on('error', () => response.destroy())
      request.pipe(onward)
    })
    server.listen(socket)
    await once(server, 'listening')
    const close = () => {
      server.closeAllConnections()
      server.close()
    }
    return { state, close }
  }

  test('an engine in a Swarm without a leader starts containers as well as ever', async () => {
    const socket = path.join(root, 'leaderless.sock')
    const { state, close } = await engineWithoutLeader(socket)
    try {
      const leaderless = new DockerEngine(socket)
      const runtime = new DockerRuntime({ engine: leaderless, owner, defaultImage: baseImageTag })
      await runtime.prepare()
      // As after each look at what the host has.
      leaderless.reset()
      state.leaderless = true
      const found = await runtime.start(launch('exit 3'))
      expect((await runtime.wait(found, never)).exitCode).toBe(3)
      const { NetworkSettings } = await inspect(found)
      expect(Object.keys(NetworkSettings.Networks)).toEqual([networkName(owner, undefined)])
      expect(state.unanswered).toBe(0)
    } finally {
      close()
    }
  })

  test('an agent that is gone while its container runs finds it again: the same one, its log, its exit code once', async () => {
    const dataDir = path.join(folder, 'data')
    const experiment = experimentRow({
      command: [
        'sh',
        '-c',
        'i=0; until [ -e /code/go ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo last; echo kept > /output/file; exit 6',
      ],
    })
    const cluster = new DoubleCluster(experiment, taskRow({ runtime: 'docker' }))
    const [blobs, streams] = [new DoubleBlobs(), new DoubleStreams()]
    const agent = async () => {
      const reconciler = new NodeReconciler({
        cluster,
        blobs,
        streams,
        space: new DoubleSpace(),
        runtimes: [newRuntime()],
        dataDir,
        api: { url: () => `http://${taskHost}:1` },
        clusterId: owner.cluster,
        nodeId: owner.node,
        log: pino({ level: 'silent' }),
        periodMs: 200,
      })
      await reconciler.start()
      return reconciler
    }
    const until = async (met: () => boolean) => {
      while (!met()) await new Promise((resolve) => setTimeout(resolve, 20))
    }

    const first = await agent()
    await cluster.untilTask((row) => row.state === 'Running')
    await until(() => streams.lines().length > 20)
    const [container] = await engine.docker.listContainers({ all: true })
    await first.stop()

    const second = await agent()
    const before = streams.lines().length
    await until(() => streams.lines().length > before + 20)
    await second.stop()
    await writeFile(path.join(dataDir, 'tasks', 'exp-1-worker-0', '1', 'code', 'go'), '')
    await engine.docker.getContainer(container?.Id ?? '').wait()
    expect(await engine.docker.listContainers({ all: true })).toMatchObject([{ Id: container?.Id }])

    const third = await agent()
    await cluster.untilTask((row) => isFinal(row.state))
    expect(cluster.task()).toMatchObject({ state: 'Failed', exit_code: 6, reason: { code: 'exit_code' } })
    expect(cluster.task()?.artifacts).toMatchObject({ files: 1, bytes: 5 })
    expect(blobs.held.has(createHash('sha256').update('kept\n').digest('hex'))).toBe(true)
    const told = streams.lines()
    expect(told).toEqual([...told.slice(0, -1).map((_, i) => String(i)), 'last'])
    expect(cluster.applied.filter(({ state }) => isFinal(state))).toHaveLength(1)
    await third.stop()
  })
})
