import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Gpu, Inventory, Usage } from '../../../contract/index.ts'
import { blockedGpus } from '../../scheduler/blocked.ts'
import { emptyState } from '../../cluster/transaction.ts'
import { identify } from '../process/proc.ts'
import { taskRow } from '../doubles.ts'
import { allocatable } from './allocatable.ts'
import { brokenDevices, evictionsFor } from './device-loss.ts'
import { GpuWatch } from './gpu-watch.ts'
import { KernelLog } from './kernel-log.ts'
import { type Ours, ProcessOwners } from './processes.ts'
import type { Found, GpuReading } from './reading.ts'

const MiB = 1024 ** 2

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'watch-'))
})
afterEach(() => rm(folder, { recursive: true }))

function reading(uuid: string, index: number, change: Partial<Gpu> = {}): GpuReading {
  const gpu: Gpu = {
    uuid, index, vendor: 'nvidia', model: 'NVIDIA L4', memory: 24 * 1024 * MiB, bus_id: `00000000:0${index}:00.0`, ...change,
  } // prettier-ignore
  const figures = { utilization_percent: 0, memory_used: 0, temperature_c: 30, power_w: 20 }
  const fault = change.fault ? { fault: change.fault } : {}
  return { gpu, usage: { uuid, ...figures, ...fault }, processes: [], minor: index }
}

const found = (...readings: GpuReading[]): Found => ({ readings, lost: new Map() })

function watch(
  answers: (Found | Error | undefined)[],
  options: { shared?: string[]; kernel?: KernelLog; onChange?: () => void } = {},
) {
  const next = () => {
    const answer = answers.length > 1 ? answers.shift() : answers[0]
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
  }
  const { kernel, ...rest } = options
  return new GpuWatch({
    vendors: { nvidia: next, amd: () => Promise.resolve(undefined) },
    owners: (devices) => Promise.resolve(devices.map(() => [])),
    ...(kernel ? { kernelFaults: () => kernel.faults() } : {}),
    ...rest,
  })
}

const faults = ({ gpus }: { gpus: readonly Gpu[] }) => gpus.map(({ fault }) => fault?.code ?? null)
const offered = (gpus: readonly Gpu[]) =>
  allocatable({ gpus, cpu: { cores: 4 }, memory: 1e10, disk: { total: 1e10 } } as unknown as Inventory).gpus

describe('what is known of the devices', () => {
  test('one that vanished stays known as lost and is not handed out; when it is back, it is well', async () => {
    const [a, b] = [reading('a', 0), reading('b', 1)]
    let changes = 0
    const gpus = watch([found(a, b), found(a), found(a, b)], { onChange: () => changes++ })
    expect(faults(await gpus.read())).toEqual([null, null])
    const without = await gpus.read()
    expect(faults(without)).toEqual([null, 'gpu_lost'])
    expect(offered(without.gpus)).toEqual(['a'])
    expect(without.usage.get('b')).toMatchObject({ memory_used: null, fault: { code: 'gpu_lost' } })
    expect(faults(await gpus.read())).toEqual([null, null])
    expect(changes).toBe(2)
  })

  test('one that the driver cannot reach is lost with the words of the driver', async () => {
    const a = reading('a', 0)
    const gpus = watch([found(a), { readings: [], lost: new Map([['0000:00:00', 'GPU is lost']]) }])
    await gpus.read()
    expect((await gpus.read()).gpus[0]?.fault?.message).toContain('GPU is lost')
  })

  test('a driver that does not answer takes them out of use, and says why; nothing is lost by that', async () => {
    const gpus = watch([
      found(reading('a', 0)),
      new Error('nvidia-smi did not answer within 20 s'),
      undefined,
    ])
    await gpus.read()
    const silent = await gpus.read()
    expect(faults(silent)).toEqual(['driver_silent'])
    expect(silent.warnings).toEqual([
      'The GPUs of this host cannot be read: nvidia-smi did not answer within 20 s.',
    ])
    expect(offered(silent.gpus)).toEqual([])
    expect(faults(await gpus.read())).toEqual(['driver_silent'])
    expect(gpus.state.answered.size).toBe(0)
  })

  test('a slice that an admin took away is gone, not lost', async () => {
    const whole = reading('a', 0, { mig_mode: true })
    const slice = reading('s', 0, { mig: { parent: 'a', profile: '1g.5gb' } })
    const gpus = watch([found(whole, slice), found(whole)])
    expect(offered((await gpus.read()).gpus)).toEqual(['s'])
    expect((await gpus.read()).gpus.map(({ uuid }) => uuid)).toEqual(['a'])
  })

  test.each([
    [['all'], ['a', 'b']],
    [['1'], ['b']],
    [['GPU-'], []],
    [['a'], ['a']],
  ])('an admin shares %j', async (shared, expected) => {
    const gpus = watch([found(reading('a', 0), reading('b', 1))], { shared })
    const { gpus: all } = await gpus.read()
    expect(all.filter((gpu) => gpu.shared).map(({ uuid }) => uuid)).toEqual(expected)
  })

  test('the kernel tells of a failure that the driver does not', async () => {
    const log = path.join(folder, 'kmsg')
    const line = (text: string) => `6,1234,5678,-;NVRM: ${text}\n`
    const xid = (bus: string, number: number) => line(`Xid (PCI:${bus}): ${number}, pid=1, name=python`)
    await writeFile(log, xid('0000:00:00', 31) + xid('0000:01:00', 79))
    const kernel = new KernelLog(log)
    const gpus = watch([found(reading('a', 0), reading('b', 1))], { kernel })
    const seen = await gpus.read()
    expect(faults(seen)).toEqual([null, 'gpu_failed'])
    expect(seen.gpus[1]?.fault?.message).toContain('fell off the bus (Xid 79')
    await writeFile(log, line('loading NVIDIA UNIX x86_64 Kernel Module  550.90.07'), { flag: 'a' })
    expect(faults(await gpus.read())).toEqual([null, null])
    kernel.close()
  })
  test('a kernel log that cannot be read tells nothing', () => {
    expect(new KernelLog(path.join(folder, 'none')).faults().size).toBe(0)
  })
})

describe('a task on a device that failed', () => {
  const held = { ...taskRow({ gpus: ['a'], state: 'Running' }) }
  const state = (task = held) => ({ tasks: emptyState.tasks.set(task.id, task) })
  const sick = (code: string) => reading('a', 0, { fault: { code, message: 'it broke' } }).gpu

  test('leaves with the reason', () => {
    expect(
      evictionsFor(
        state(),
        'node-1',
        brokenDevices([sick('gpu_lost')], [], () => true),
      ),
    ).toEqual([
      {
        type: 'workload.evict',
        id: 'exp-1',
        tasks: ['exp-1-worker-0'],
        eviction: {
          cause: 'device_lost',
          then: 'fail',
          reason: { code: 'device_lost', message: 'Its GPU 0 (NVIDIA L4, a) failed: it broke.' },
        },
      },
    ])
  })
  test('leaves when it is gone since before the agent was started, but only if the driver says so', () => {
    const before = [reading('a', 0).gpu]
    expect(
      evictionsFor(
        state(),
        'node-1',
        brokenDevices([], before, () => true),
      ),
    ).toHaveLength(1)
    expect(brokenDevices([], before, () => false)).toEqual([])
  })
  test('stays where the device still works, or where it holds another one, or was told already', () => {
    expect(brokenDevices([sick('driver_silent'), sick('gpu_repair_pending')], [], () => true)).toEqual([])
    const broken = [sick('gpu_lost')]
    expect(evictionsFor(state({ ...held, gpus: ['b'] }), 'node-1', broken)).toEqual([])
    expect(evictionsFor(state({ ...held, node: 'node-2' }), 'node-1', broken)).toEqual([])
    expect(evictionsFor(state({ ...held, state: 'Failed' }), 'node-1', broken)).toEqual([])
    const evict = {
      cause: 'device_lost',
      then: 'fail',
      grace_seconds: 1,
      at: '',
      reason: held.reason,
    } as never
    expect(evictionsFor(state({ ...held, evict }), 'node-1', broken)).toEqual([])
  })
})

describe('processes on the devices', () => {
  const id = 'c'.repeat(64)
  const nobody: Ours = { containers: new Map(), leaders: new Map() }

  async function process(
    pid: number,
    given: { cgroup?: string; parent?: number; group?: number; session?: number },
  ) {
    const at = path.join(folder, String(pid))
    await mkdir(at)
    const { cgroup = '0::/user.slice', parent = 1, group = pid, session = pid } = given
    await writeFile(path.join(at, 'cgroup'), `${cgroup}\n`)
    await writeFile(path.join(at, 'stat'), `${pid} (a (name) x) S ${parent} ${group} ${session} 0 -1\n`)
    await writeFile(path.join(at, 'comm'), 'trainer\n')
  }
  const owners = (ours: Ours | Error, threshold = 300 * MiB) =>
    new ProcessOwners({
      ours: () => (ours instanceof Error ? Promise.reject(ours) : Promise.resolve(ours)),
      threshold,
      proc: folder,
      passwd: path.join(folder, 'passwd'),
    })
  const raw = (pid: number, memory: number | null = 1024 * MiB, kind: 'compute' | 'graphics' = 'compute') => ({
    pid, name: 'python', memory, kind,
  }) // prettier-ignore
  const tasks = async (of: ProcessOwners, ...pids: number[]) =>
    (await of.of([pids.map((pid) => raw(pid))]))[0]?.map(({ task }) => task)

  test('are ours by their container, in either cgroup version and driver', async () => {
    await process(11, { cgroup: `0::/system.slice/docker-${id}.scope` })
    await process(12, { cgroup: `12:devices:/docker/${id}\n11:cpu:/docker/${id}` })
    await process(13, { cgroup: `0::/system.slice/docker-${'d'.repeat(64)}.scope` })
    const ours = { ...nobody, containers: new Map([[id, 'task-1']]) }
    expect(await tasks(owners(ours), 11, 12, 13)).toEqual(['task-1', 'task-1', null])
  })

  test('are ours by the group, session or ancestors of a plain process', async () => {
    await process(21, { group: 20, session: 20 })
    await process(22, { session: 20 })
    await process(23, { parent: 20 })
    await process(24, { parent: 25 })
    await process(25, {})
    const ours = { ...nobody, leaders: new Map([[20, 'task-2']]) }
    await process(20, {})
    expect(await tasks(owners(ours), 20, 21, 22, 23, 24)).toEqual([
      'task-2', 'task-2', 'task-2', 'task-2', null,
    ]) // prettier-ignore
  })

  test('from outside block when they compute and are not tiny; others are only shown', async () => {
    for (const pid of [31, 32, 33, 34]) await process(pid, {})
    const uid = process31Owner()
    await writeFile(path.join(folder, 'passwd'), `root:x:0:0::/root:/bin/sh\nana:x:${uid}:1::/:/bin/sh\n`)
    const [list = []] = await owners(nobody).of([
      [raw(31), raw(32, 299 * MiB), raw(33, 900 * MiB, 'graphics'), raw(34, null)],
    ])
    expect(list.map(({ blocking }) => blocking)).toEqual([true, false, false, true])
    expect(list[0]?.user).toBe(uid === 0 ? 'root' : 'ana')
    const [tiny = []] = await owners(nobody, 100 * MiB).of([[raw(32, 299 * MiB)]])
    expect(tiny[0]?.blocking).toBe(true)
  })

  test('that are gone, or have no name, are still shown', async () => {
    await process(41, {})
    const [list] = await owners(nobody).of([
      [
        { ...raw(41), name: '' },
        { ...raw(99), name: '' },
      ],
    ])
    expect(list).toMatchObject([{ name: 'trainer' }, { name: 'unknown', user: null }])
  })

  test('are looked up once, and again after an engine did not answer', async () => {
    await process(globalThis.process.pid, { cgroup: `0::/docker/${id}` })
    let asked = 0
    let away = true
    const of = new ProcessOwners({
      ours: () => {
        asked++
        return away
          ? Promise.reject(new Error('no engine'))
          : Promise.resolve({ ...nobody, containers: new Map([[id, 't']]) })
      },
      threshold: MiB,
      proc: folder,
      passwd: '/etc/passwd',
    })
    const { pid } = globalThis.process
    expect(identify(pid)).toBeDefined()
    expect(await tasks(of, pid)).toEqual([null])
    away = false
    expect(await tasks(of, pid)).toEqual(['t'])
    expect(await tasks(of, pid)).toEqual(['t'])
    expect(asked).toBe(2)
  })

  const process31Owner = () => globalThis.process.getuid?.() ?? 0
})

test('devices that are sick or used from outside are blocked, and why is said', () => {
  const gpu = (uuid: string, rest: object) => ({
    uuid, utilization_percent: 0, memory_used: 0, temperature_c: 0, power_w: 0, ...rest,
  }) // prettier-ignore
  const theirs = {
    pid: 7,
    user: 'eva',
    name: 'ollama',
    memory: 2048 * MiB,
    kind: 'compute',
    task: null,
    blocking: true,
  }
  const usage = {
    gpus: [
      gpu('a', { processes: [theirs] }),
      gpu('b', { fault: { code: 'gpu_lost', message: 'gone' } }),
      gpu('c', { processes: [{ ...theirs, task: 't', blocking: false }] }),
    ],
  } as unknown as Usage
  expect([...blockedGpus(usage)]).toEqual([
    ['a', { code: 'gpu_in_use', message: 'in use outside the cluster by ollama (pid 7 of eva, 2 GiB)' }],
    ['b', { code: 'gpu_lost', message: 'gone' }],
  ])
  expect(blockedGpus(null).size).toBe(0)
})
