import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Inventory, Usage } from '../../../contract/index.ts'
import { needs } from '../../../test/setup/needs.ts'
import { DoubleCluster } from '../doubles.ts'
import { allocatable } from './allocatable.ts'
import type { GpuState } from './gpu-watch.ts'
import { detectInventory } from './inventory.ts'
import { NodeReporter } from './reporter.ts'
import { cpuPercent, parseCpu, parseMeminfo, UsageReader } from './usage.ts'

const GiB = 1024 ** 3
const gpuOf = (uuid: string, index = 0) => ({
  uuid,
  index,
  vendor: 'nvidia' as const,
  model: 'X',
  memory: 24 * GiB,
})

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'detect-'))
})
afterEach(() => rm(folder, { recursive: true }))

const inventory = (change: Partial<Inventory> = {}): Inventory => ({
  hostname: 'host',
  os: 'Debian 12',
  kernel: '6.1',
  arch: 'x64',
  cpu: { model: 'a CPU', cores: 16 },
  memory: 128 * GiB,
  disk: { path: '/data', total: 1000 * GiB, free: 500 * GiB },
  gpus: ['GPU-aaaaaaaa-1', 'GPU-bbbbbbbb-2'].map((uuid, index) => ({
    uuid,
    index,
    vendor: 'nvidia' as const,
    model: 'X',
    memory: 24 * GiB,
  })),
  docker: null,
  runtimes: ['docker'],
  default_image: null,
  agent_version: '0.1.0',
  node_version: 'v24',
  ...change,
})

describe('what tasks may take', () => {
  test('is what there is minus half a core and 5 % of the memory', () => {
    expect(allocatable(inventory())).toEqual({
      resources: { cpu: 15.5, memory: Math.floor(128 * 0.95 * GiB), gpu: 2, disk: 900 * GiB },
      gpus: ['GPU-aaaaaaaa-1', 'GPU-bbbbbbbb-2'],
    })
  })
  test('leaves 2 GiB of a smaller host, and half of a very small one', () => {
    expect(allocatable(inventory({ memory: 16 * GiB })).resources.memory).toBe(14 * GiB)
    expect(allocatable(inventory({ memory: GiB, cpu: { model: '', cores: 1 } })).resources).toMatchObject({
      memory: GiB / 2,
      cpu: 0.5,
    })
  })
  test('is the explicit share, but never more than there is', () => {
    const share = { cpu: 2, memory: 3 * GiB, gpus: ['GPU-bbbbbbbb-2'] }
    expect(allocatable(inventory(), share)).toMatchObject({
      resources: { cpu: 2, memory: 3 * GiB, gpu: 1 },
      gpus: ['GPU-bbbbbbbb-2'],
    })
    expect(allocatable(inventory(), { cpu: 99, memory: 999 * GiB }).resources).toMatchObject({
      cpu: 16,
      memory: 128 * GiB,
    })
  })
  test('names GPUs by UUID, its beginning or index', () => {
    const gpus = (...given: string[]) => allocatable(inventory(), { gpus: given }).gpus
    expect(gpus('1')).toEqual(['GPU-bbbbbbbb-2'])
    expect(gpus('GPU-aaaa')).toEqual(['GPU-aaaaaaaa-1'])
    expect(gpus('GPU-')).toEqual([])
    expect(gpus()).toEqual([])
  })
})

test('this host is detected, as the contract wants it', async () => {
  const found = await detectInventory({
    dataDir: folder,
    engine: null,
    processRuntime: true,
    defaultImage: 'python:3.12',
    agentVersion: '0.1.0',
    gpus: () => Promise.resolve([gpuOf('GPU-1')]),
  })
  expect(Inventory.parse(found)).toEqual(found)
  expect(found).toMatchObject({
    hostname: os.hostname(),
    memory: os.totalmem(),
    cpu: { cores: os.availableParallelism() },
    docker: null,
    runtimes: ['process'],
    gpus: [{ uuid: 'GPU-1' }],
  })
  expect(found.kerberos !== undefined, 'kinit').toBe(!needs.kerberos.skip)
  expect(found.disk.total).toBeGreaterThan(found.disk.free)
})

describe('live figures', () => {
  const times = (busy: number, idle: number) => ({ idle, total: busy + idle })
  test.each([
    [times(0, 0), times(25, 75), 25],
    [times(10, 10), times(20, 10), 100],
    [times(10, 10), times(10, 10), 0],
    // Idle time may run backwards on some kernels.
    [times(10, 50), times(30, 45), 100],
  ])('cpu from %j to %j is %d %%', (before, after, expected) => {
    expect(cpuPercent(before, after)).toBe(expected)
  })
  test('cores wait for disks as well as for work, and what guests took is not counted twice', () => {
    expect(parseCpu('cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n')).toEqual({
      idle: 450,
      total: 531,
    })
    expect(() => parseCpu('')).toThrow()
  })
  test('memory counts what caches would give back', () => {
    expect(parseMeminfo('MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:   600 kB\n')).toEqual({
      total: 1000 * 1024,
      available: 600 * 1024,
    })
    expect(() => parseMeminfo('')).toThrow()
  })

  test('are read at once, with the GPUs as last seen, and at most one reading of those at a time', async () => {
    const figures = {
      utilization_percent: 5,
      memory_used: 7,
      temperature_c: 30,
      power_w: null,
      processes: [],
    }
    const stateOf = (utilization_percent: number): GpuState => ({
      gpus: [gpuOf('GPU-1')],
      usage: new Map([['GPU-1', { uuid: 'GPU-1', ...figures, utilization_percent }]]),
      minors: new Map(),
      answered: new Set(['nvidia' as const]),
      warnings: ['The GPUs of this host cannot be read: it hangs.'],
    })
    const answer = Promise.withResolvers<GpuState>()
    const gpus = {
      state: stateOf(5),
      asked: 0,
      read() {
        this.asked++
        return answer.promise.then((next) => (this.state = next))
      },
    }
    const reader = new UsageReader({ dataDir: folder, gpus, diskLow: () => true })
    const first = await reader.read()
    expect(Usage.parse(first)).toEqual(first)
    expect(first).toMatchObject({
      disk_low: true,
      gpus: [{ utilization_percent: 5 }],
      warnings: [expect.stringContaining('hangs')],
    })
    await reader.read()
    expect(gpus.asked).toBe(1)
    answer.resolve(stateOf(80))
    await reader.settled()
    expect((await reader.read()).gpus).toMatchObject([{ utilization_percent: 80 }])
    await reader.settled()
  })
})

describe('the report of what a node has', () => {
  const start = async (
    cluster: DoubleCluster,
    detect: () => Promise<Inventory>,
    address = () => 'a:7460',
  ) => {
    const reporter = new NodeReporter({ cluster, detect, address, log: pino({ level: 'silent' }) })
    await reporter.start()
    return reporter
  }

  test('is made at first and when something changed, and not for free space that comes and goes', async () => {
    const cluster = new DoubleCluster()
    let now = inventory()
    let address = 'a:7460'
    const reporter = await start(
      cluster,
      () => Promise.resolve(now),
      () => address,
    )
    expect(cluster.proposed).toMatchObject([
      { type: 'node.report', node: 'node-1', address: 'a:7460', allocatable: { cpu: 15.5, gpu: 2 } },
    ])
    now = inventory({ disk: { path: '/data', total: 1000 * GiB, free: 490 * GiB } })
    await reporter.check()
    expect(cluster.proposed).toHaveLength(1)
    now = inventory({ gpus: [] })
    await reporter.check()
    expect(cluster.proposed.at(-1)).toMatchObject({ gpus: [], allocatable: { gpu: 0 } })
    address = 'b:7460'
    await reporter.check()
    now = inventory({ gpus: [], disk: { path: '/data', total: 1000 * GiB, free: 400 * GiB } })
    await reporter.check()
    expect(cluster.proposed).toHaveLength(4)
    await reporter.stop()
    // An agent that starts again has nothing new to say.
    await (
      await start(
        cluster,
        () => Promise.resolve(now),
        () => address,
      )
    ).stop()
    expect(cluster.proposed).toHaveLength(4)
  })

  test('is made later when there is no leader or nothing can be detected', async () => {
    const cluster = new DoubleCluster()
    cluster.setLeader(false)
    let broken = false
    const reporter = await start(cluster, () =>
      broken ? Promise.reject(new Error('no /proc')) : Promise.resolve(inventory()),
    )
    expect(cluster.proposed).toEqual([])
    cluster.setLeader(true)
    broken = true
    await reporter.check()
    expect(cluster.proposed).toEqual([])
    broken = false
    await reporter.check()
    expect(cluster.proposed).toHaveLength(1)
    await reporter.stop()
  })
})
