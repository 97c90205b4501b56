import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isFinal } from '../../contract/index.ts'
import {
  DoubleBlobs,
  DoubleCluster,
  DoubleRuntime,
  DoubleSpace,
  DoubleStreams,
  experimentRow,
  taskRow,
} from './doubles.ts'
import { NodeReconciler } from './reconcile.ts'
import { StartFailure } from './runtime.ts'

const task = 'exp-1-worker-0'
let dataDir: string
let cluster: DoubleCluster
let runtime: DoubleRuntime
let blobs: DoubleBlobs
let streams: DoubleStreams
let space: DoubleSpace
const running = new Set<NodeReconciler>()

beforeEach(async () => {
  dataDir = await mkdtemp(path.join(os.tmpdir(), 'reconcile-'))
  cluster = new DoubleCluster()
  runtime = new DoubleRuntime()
  blobs = new DoubleBlobs()
  streams = new DoubleStreams()
  space = new DoubleSpace()
})

afterEach(async () => {
  for (const reconciler of running) await reconciler.stop()
  running.clear()
  await rm(dataDir, { recursive: true })
})

/** An agent's start. What a killed one had in memory is not there: only the host, the store and the cluster are. */
async function agent(): Promise<NodeReconciler> {
  const reconciler = new NodeReconciler({
    cluster,
    blobs,
    streams,
    space,
    runtimes: [runtime],
    dataDir,
    api: { url: (name) => `http://agent.example/${name}` },
    clusterId: 'cluster-1',
    nodeId: 'node-1',
    log: pino({ level: process.env['LOG_LEVEL'] ?? 'silent' }),
    periodMs: 20,
    timing: { grace: 3000, retry: 5, startPatience: 200, copyPatience: 50, keepPatience: 50 },
  })
  running.add(reconciler)
  await reconciler.start()
  return reconciler
}

/** The agent ends without a chance to do anything: nothing but `leave` reaches its runners. */
async function kill(reconciler: NodeReconciler): Promise<void> {
  running.delete(reconciler)
  await reconciler.stop()
}

const isRunning = () => cluster.untilTask((row) => row.state === 'Running')
const isOver = () => cluster.untilTask((row) => isFinal(row.state))
const finals = () => cluster.applied.filter((report) => isFinal(report.state))

/** Polls what no event tells; the test's own time limit ends a wait in vain. */
async function until(met: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await met())) await new Promise((resolve) => setTimeout(resolve, 5))
}
const isTidy = () =>
  until(async () => {
    const notes = (await readdir(path.join(dataDir, 'node'))).filter((name) => name.endsWith('.json'))
    return notes.length === 0 && (await readdir(path.join(dataDir, 'tasks'))).length === 0
  })

test('a placed task is prepared, started, watched, kept and reported', async () => {
  await agent()
  await isRunning()
  const [launch] = runtime.started
  expect(launch).toMatchObject({ task, attempt: 1, command: ['true'], caFile: null })
  expect(launch?.env).toMatchObject({
    GREETING: 'hello',
    SUBMARINE_API: 'http://agent.example/process',
    SUBMARINE_EXPERIMENT_ID: 'exp-1',
    SUBMARINE_TASK: task,
    SUBMARINE_ROLE: 'worker',
    SUBMARINE_INDEX: '0',
    SUBMARINE_ATTEMPT: '1',
  })
  const token = launch?.env['SUBMARINE_TOKEN'] ?? ''
  expect(cluster.applied[0]).toMatchObject({
    state: 'Starting',
    token_sha256: createHash('sha256').update(token).digest('hex'),
  })

  await writeFile(path.join(launch?.outputFolder ?? '', 'model.json'), '{}')
  runtime.get().print('one', 'two')
  runtime.get().end()
  await isOver()
  const row = cluster.task()
  expect(row).toMatchObject({ state: 'Succeeded', exit_code: 0, reason: null, metrics: null })
  expect(row?.artifacts).toMatchObject({ files: 1, bytes: 2, holders: ['node-1', 'node-2'] })
  const manifest = blobs.held.get(row?.artifacts?.sha256 ?? '')?.toString() ?? ''
  expect(JSON.parse(manifest)).toEqual({
    path: 'model.json',
    bytes: 2,
    sha256: createHash('sha256').update('{}').digest('hex'),
  })
  expect(streams.lines()).toEqual(['one', 'two'])
  expect(row?.log).toMatchObject({ files: 1, holders: ['node-1', 'node-2'] })
  expect(cluster.applied.map(({ state }) => state)).toEqual(['Starting', 'Running', 'Succeeded'])
  await isTidy()
  expect(runtime.removed).toEqual([`${task}/1`])
})

test('metrics that were logged are sealed with the end', async () => {
  await agent()
  await isRunning()
  const key = { task, attempt: 1, kind: 'metrics' } as const
  await streams.append(key, [{ k: 'loss', v: 1, n: 0, t: '2026-01-01T00:00:00Z' }])
  runtime.get().end()
  await isOver()
  expect(cluster.task()?.metrics?.bytes).toBe(await streams.size(key))
})

test.each([
  [{ exitCode: 3 }, 'exit_code', /exit code 3/],
  [{ exitCode: 137 }, 'exit_code', /killed by SIGKILL/],
  [{ exitCode: 127 }, 'exit_code', /not found/],
  [{ exitCode: 137, oomKilled: true }, 'oom_killed', /more memory than its limit of 1 GiB/],
  [
    { exitCode: null, failure: { code: 'container_lost', message: 'It vanished.' } },
    'container_lost',
    /vanished/,
  ],
])('the end %j is told as %s', async (exit, code, message) => {
  await agent()
  await isRunning()
  runtime.get().end(exit)
  await isOver()
  expect(cluster.task()).toMatchObject({ state: 'Failed', exit_code: exit.exitCode, reason: { code } })
  expect(cluster.task()?.reason?.message).toMatch(message)
})

test('an attempt that cannot start fails and says why', async () => {
  runtime.startError = new StartFailure('image_missing', 'No such image; load it.')
  await agent()
  await isOver()
  expect(cluster.task()).toMatchObject({
    state: 'Failed',
    exit_code: null,
    reason: { code: 'image_missing', message: 'No such image; load it.' },
  })
  await isTidy()
})

test('a start that fails for the moment is tried again', async () => {
  runtime.startError = new Error('connect ECONNREFUSED')
  await agent()
  await isRunning()
  expect(runtime.started).toHaveLength(1)
})

test('a task for a runtime that this agent does not have fails and says so', async () => {
  cluster = new DoubleCluster(experimentRow(), taskRow({ runtime: 'docker' }))
  await agent()
  await isOver()
  expect(cluster.task()?.reason).toMatchObject({ code: 'runtime_missing' })
})

test('nothing is started on a disk that is nearly full', async () => {
  space.full = true
  await agent()
  await isOver()
  expect(cluster.task()?.reason?.code).toBe('disk_low')
  expect(runtime.started).toEqual([])
})

test('code that is not there any more fails the task', async () => {
  const experiment = experimentRow()
  cluster = new DoubleCluster({
    ...experiment,
    spec: { ...experiment.spec, code: { upload: 'a'.repeat(64) } },
  })
  await agent()
  await isOver()
  expect(cluster.task()?.reason?.code).toBe('code_missing')
})

test('code that is no archive fails the task', async () => {
  const { sha256 } = await blobs.put(
    (await import('node:stream')).Readable.from(['not a tar file'.repeat(99)]),
  )
  const experiment = experimentRow()
  cluster = new DoubleCluster({ ...experiment, spec: { ...experiment.spec, code: { upload: sha256 } } })
  await agent()
  await isOver()
  expect(cluster.task()?.reason?.code).toBe('code_invalid')
})

test('a request to stop ends the task with its grace, and what it left is kept', async () => {
  await agent()
  await isRunning()
  await writeFile(path.join(runtime.started[0]?.outputFolder ?? '', 'half.bin'), 'x')
  cluster.change({ experiment: experimentRow({ stop_requested: true }) })
  await isOver()
  expect(runtime.stopped).toEqual([{ task, attempt: 1, grace: 3 }])
  expect(cluster.task()).toMatchObject({ state: 'Stopped', exit_code: 143, artifacts: { files: 1 } })
})

test('a task that is to stop before it starts never starts', async () => {
  cluster = new DoubleCluster(experimentRow({ stop_requested: true }))
  await agent()
  await isOver()
  expect(cluster.task()).toMatchObject({ state: 'Stopped', exit_code: null })
  expect(runtime.started).toEqual([])
})

test('a time limit ends the task, counted from its start and not from the restart of the agent', async () => {
  cluster = new DoubleCluster(experimentRow({ timeout: 3600 }), taskRow({ state: 'Running' }))
  runtime.hold(task, 1, new Date(Date.now() - 3601_000).toISOString())
  await agent()
  await isOver()
  expect(cluster.task()).toMatchObject({ state: 'Failed', reason: { code: 'timeout' } })
  expect(cluster.task()?.reason?.message).toContain('1 hour')
})

test('with no leader nothing is started, and what runs goes on', async () => {
  cluster.setLeader(false)
  await agent()
  await until(async () => (await readdir(path.join(dataDir, 'tasks'))).length > 0)
  expect(runtime.started).toEqual([])
  cluster.setLeader(true)
  await isRunning()
  cluster.setLeader(false)
  runtime.get().end({ exitCode: 4 })
  await until(async () => (await notes())[0]?.phase === 'collected')
  expect(cluster.task()?.state).toBe('Running')
  cluster.setLeader(true)
  await isOver()
  expect(cluster.task()).toMatchObject({ state: 'Failed', exit_code: 4 })
  expect(finals()).toHaveLength(1)
})

async function notes(): Promise<{ phase: string }[]> {
  const names = (await readdir(path.join(dataDir, 'node'))).filter((name) => name.endsWith('.json'))
  const read = async (name: string) => readFile(path.join(dataDir, 'node', name), 'utf8')
  return Promise.all(names.map(async (name) => JSON.parse(await read(name)) as { phase: string }))
}

test('an end found without a leader is reported once by the next agent', async () => {
  const first = await agent()
  await isRunning()
  cluster.setLeader(false)
  runtime.get().end({ exitCode: 5 })
  await until(async () => (await notes())[0]?.phase === 'collected')
  await kill(first)
  await agent()
  cluster.setLeader(true)
  await isOver()
  expect(finals()).toMatchObject([{ state: 'Failed', exit_code: 5 }])
  await isTidy()
})

test('a report whose outcome is not known is sent again and counts once', async () => {
  cluster.forget = 2
  await agent()
  await isRunning()
  cluster.forget = 3
  runtime.get().end()
  await isOver()
  await isTidy()
  expect(finals()).toHaveLength(1)
})

test('an agent that was killed takes its running task over: no second start, one log, one report', async () => {
  const first = await agent()
  await isRunning()
  runtime.get().print('before')
  await until(() => streams.lines().length === 1)
  await kill(first)
  runtime.get().print('between')
  const second = await agent()
  runtime.get().print('after')
  await until(() => streams.lines().length === 3)
  await kill(second)
  runtime.get().end({ exitCode: 7 })
  await agent()
  await isOver()
  expect(streams.lines()).toEqual(['before', 'between', 'after'])
  expect(runtime.started).toHaveLength(1)
  expect(finals()).toMatchObject([{ state: 'Failed', exit_code: 7 }])
})

test('a container that was created but not started is started by the next agent', async () => {
  runtime.hold(task, 1, null)
  runtime.started.length = 0
  await agent()
  await until(() => runtime.started.length === 1)
})

test('an agent without its notes still takes a running task over', async () => {
  const first = await agent()
  await isRunning()
  await kill(first)
  await rm(path.join(dataDir, 'node'), { recursive: true })
  await agent()
  runtime.get().end()
  await isOver()
  expect(cluster.task()?.state).toBe('Succeeded')
  expect(runtime.started).toHaveLength(1)
})

test('damaged notes are set aside', async () => {
  const first = await agent()
  await isRunning()
  await kill(first)
  const [name = ''] = (await readdir(path.join(dataDir, 'node'))).filter((one) => one.endsWith('.json'))
  await writeFile(path.join(dataDir, 'node', name), '{"v":1,"ta')
  await agent()
  runtime.get().end()
  await isOver()
  expect(await readdir(path.join(dataDir, 'node'))).toContain(`${name}.damaged`)
})

test('an attempt is never started again when the cluster knows another token of it', async () => {
  cluster = new DoubleCluster(experimentRow(), taskRow({ token_sha256: 'f'.repeat(64) }))
  await agent()
  await isOver()
  expect(runtime.started).toEqual([])
  expect(cluster.task()?.reason?.code).toBe('state_lost')
})

test('an attempt that became final while it was prepared is not started', async () => {
  cluster.setLeader(false)
  await agent()
  await until(async () => (await readdir(path.join(dataDir, 'tasks'))).length > 0)
  // The cluster moves on before this node hears of it: its report comes late and changes nothing.
  const propose = cluster.propose.bind(cluster)
  cluster.propose = async (command) => {
    if (cluster.leader) cluster.change({ task: taskRow({ state: 'Failed' }) })
    return propose(command)
  }
  cluster.setLeader(true)
  await isTidy()
  expect(runtime.started).toEqual([])
})

test('a running task of which nothing is left has failed', async () => {
  cluster = new DoubleCluster(experimentRow(), taskRow({ state: 'Running' }))
  await agent()
  await isOver()
  expect(cluster.task()).toMatchObject({ state: 'Failed', reason: { code: 'container_lost' } })
})

test('a first attempt starts although the host is still asked what else it has', async () => {
  const asked = Promise.withResolvers<never[]>()
  runtime.list = () => asked.promise
  const ready = agent()
  await isRunning()
  expect(runtime.started).toHaveLength(1)
  asked.resolve([])
  await ready
})

test('what runs here by our own notes is looked for, also when the state of the cluster is older', async () => {
  const first = await agent()
  await isRunning()
  await kill(first)
  cluster.change({ task: taskRow() })
  await agent()
  runtime.get().end()
  await isOver()
  expect(cluster.task()?.state).toBe('Succeeded')
  expect(runtime.started).toHaveLength(1)
})

test('a runtime that does not answer is waited for: its tasks are neither lost nor swept away', async () => {
  cluster = new DoubleCluster(experimentRow(), taskRow({ state: 'Running' }))
  runtime.hold(task, 1)
  runtime.hold('old-task', 1)
  runtime.answers = false
  await agent()
  expect(cluster.applied).toEqual([])
  runtime.answers = true
  await until(() => runtime.removed.includes('old-task/1'))
  runtime.get().end()
  await isOver()
  expect(cluster.task()?.state).toBe('Succeeded')
})

test('what the cluster does not want here is stopped and removed, but only while it can be asked', async () => {
  runtime.hold('old-task', 1)
  runtime.hold('other-task', 7)
  cluster.setLeader(false)
  await agent()
  await until(async () => (await readdir(path.join(dataDir, 'tasks'))).length > 0)
  expect(runtime.removed).toEqual([])
  cluster.setLeader(true)
  await until(() => runtime.removed.length === 2)
  expect(runtime.removed.toSorted()).toEqual(['old-task/1', 'other-task/7'])
  expect(runtime.stopped).toHaveLength(2)
  await isRunning()
})

test('an attempt that was placed anew elsewhere is ended here and reports nothing', async () => {
  await agent()
  await isRunning()
  cluster.change({ task: taskRow({ attempt: 2, node: 'node-2', state: 'Starting' }) })
  await until(() => runtime.removed.length === 1)
  await isTidy()
  expect(finals()).toEqual([])
})

test('of a task that is placed here again only the new attempt runs', async () => {
  await agent()
  await isRunning()
  cluster.change({ task: taskRow({ attempt: 2 }) })
  await until(() => runtime.has(task, 2) && !runtime.has(task, 1))
  runtime.get(task, 2).end()
  await isOver()
  expect(finals()).toMatchObject([{ attempt: 2, state: 'Succeeded' }])
})

test('an evicted task gets the grace it is given, and says that it was stopped', async () => {
  await agent()
  await isRunning()
  const reason = { code: 'preempted', message: 'a higher class needs it' }
  const evict = { cause: 'preempted', reason, grace_seconds: 77, then: 'queue', at: '' } as const
  cluster.change({ task: taskRow({ ...cluster.task(), evict }) })
  await isOver()
  expect(runtime.stopped).toEqual([{ task, attempt: 1, grace: 77 }])
  expect(cluster.task()).toMatchObject({ state: 'Stopped', reason: { code: 'evicted' } })
})

test('an attempt waits until an earlier one of its task has ended on this host', async () => {
  cluster = new DoubleCluster(experimentRow(), taskRow({ attempt: 2 }))
  runtime.hold(task, 1)
  let release = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const [stop, start] = [runtime.stop.bind(runtime), runtime.start.bind(runtime)]
  let overlap = false
  runtime.stop = async (found, grace) => {
    await held
    await stop(found, grace)
  }
  runtime.start = async (launch) => {
    overlap ||= runtime.has(task, 1) && !runtime.get(task, 1).found.exit
    return start(launch)
  }
  await agent()
  release()
  await until(() => runtime.has(task, 2))
  expect(overlap).toBe(false)
  expect(cluster.applied[0]).toMatchObject({ attempt: 2, state: 'Starting', boot_id: expect.any(String) })
})

test('a deleted task is ended', async () => {
  await agent()
  await isRunning()
  cluster.change({ deletedTask: task })
  await until(() => runtime.removed.length === 1)
  await isTidy()
})

test('when no second node can be had the end is reported with the one copy there is', async () => {
  blobs.second = false
  await agent()
  await isRunning()
  runtime.get().end()
  await isOver()
  expect(cluster.task()?.artifacts?.holders).toEqual(['node-1'])
})

test('a log that cannot be written for a moment has no gap and no repeat', async () => {
  streams.fail = 3
  await agent()
  await isRunning()
  runtime.get().print('one')
  await until(() => streams.lines().length === 1)
  streams.fail = 2
  runtime.get().print('two', 'three')
  runtime.get().end()
  await isOver()
  expect(streams.lines()).toEqual(['one', 'two', 'three'])
})

test('output that cannot be kept is laid aside, and where is said', async () => {
  await agent()
  await isRunning()
  await writeFile(path.join(runtime.started[0]?.outputFolder ?? '', 'model.bin'), 'weights')
  blobs.putError = new Error('no space left on device')
  runtime.get().end()
  await isOver()
  expect(cluster.task()).toMatchObject({ state: 'Failed', exit_code: 0, reason: { code: 'output_not_kept' } })
  const folder = /It lies in (\S+) on/.exec(cluster.task()?.reason?.message ?? '')?.[1] ?? ''
  expect(await readFile(path.join(folder, 'model.bin'), 'utf8')).toBe('weights')
})

test('letting go of the tasks stops none of them', async () => {
  const reconciler = await agent()
  await isRunning()
  await kill(reconciler)
  expect(runtime.stopped).toEqual([])
  expect(runtime.get().found.exit).toBeNull()
  expect(finals()).toEqual([])
})
