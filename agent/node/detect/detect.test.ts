import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Inventory, Usage } from '../../../contract/index.ts'
import { DoubleCluster } from '../doubles.ts'
import { allocatable } from './allocatable.ts'
import { parseNvidia, readNvidia } from './gpus.ts'
import { detectInventory } from './inventory.ts'
import { NodeReporter } from './reporter.ts'
import { cpuPercent, parseMeminfo, UsageReader } from './usage.ts'

const GiB = 1024 ** 3
const MiB = 1024 ** 2
const fixture = (name: string) => path.join(import.meta.dirname, 'fixtures', `${name}.xml`)
const parsed = async (name: string) => parseNvidia(await readFile(fixture(name), 'utf8'))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'detect-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** A program in place of nvidia-smi. */
async function program(script: string): Promise<string> {
  const file = path.join(folder, 'nvidia-smi')
  await writeFile(file, `#!/bin/sh\n${script}\n`)
  await chmod(file, 0o755)
  return file
}

describe('GPUs', () => {
  test('of an older driver', async () => {
    const [busy, idle] = await parsed('rtx-3090')
    expect(busy).toEqual({
      gpu: {
        uuid: 'GPU-5f1c4b7e-3a0d-8f52-9c1e-2b6d7a8e9f01',
        index: 0,
        vendor: 'nvidia',
        model: 'NVIDIA GeForce RTX 3090',
        memory: 24268 * MiB,
        driver: '470.256.02',
        cuda: '11.4',
      },
      usage: {
        uuid: 'GPU-5f1c4b7e-3a0d-8f52-9c1e-2b6d7a8e9f01',
        utilization_percent: 97,
        memory_used: 10412 * MiB,
        temperature_c: 66,
        power_w: 341.25,
      },
    })
    expect(idle).toMatchObject({ gpu: { index: 1 }, usage: { utilization_percent: 0, power_w: null } })
  })
  test('of a newer one, alone in its host', async () => {
    expect(await parsed('h100')).toMatchObject([
      {
        gpu: { model: 'NVIDIA H100 80GB HBM3', memory: 81559 * MiB, cuda: '12.4' },
        usage: { memory_used: 4 * MiB, temperature_c: 29, power_w: 69.62 },
      },
    ])
  })
  test('that tell less, or fell off the bus', async () => {
    expect(await parsed('a100-mig-and-lost')).toMatchObject([
      { gpu: { index: 0 }, usage: { utilization_percent: null, temperature_c: 31, power_w: 45.88 } },
    ])
  })
  test('of something else are none', () => {
    expect(() => parseNvidia('NVIDIA-SMI has failed')).toThrow('something else')
    expect(() => parseNvidia('<html><body/></html>')).toThrow('something else')
    expect(parseNvidia('<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>')).toEqual([])
  })
  test('are read from the program, and none where there is no such program', async () => {
    expect(await readNvidia(await program(`cat '${fixture('h100')}'`))).toHaveLength(1)
    expect(await readNvidia(path.join(folder, 'absent'))).toEqual([])
  })
  test('of a driver that hangs or fails are an error', async () => {
    await expect(readNvidia(await program('exec sleep 60'), 100)).rejects.toThrow()
    await expect(readNvidia(await program('echo "No devices" >&2; exit 9'))).rejects.toThrow('No devices')
  })
})

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
    nvidiaSmi: await program(`cat '${fixture('h100')}'`),
  })
  expect(Inventory.parse(found)).toEqual(found)
  expect(found).toMatchObject({
    hostname: os.hostname(),
    memory: os.totalmem(),
    cpu: { cores: os.availableParallelism() },
    docker: null,
    runtimes: ['process'],
    gpus: [{ model: 'NVIDIA H100 80GB HBM3' }],
  })
  expect(found.disk.total).toBeGreaterThan(found.disk.free)
})

describe('live figures', () => {
  const times = (user: number, idle: number) => [{ times: { user, nice: 0, sys: 0, idle, irq: 0 } }]
  test.each([
    [times(0, 0), times(25, 75), 25],
    [times(10, 10), times(20, 10), 100],
    [times(10, 10), times(10, 10), 0],
    // Idle time may run backwards on some kernels.
    [times(10, 50), times(30, 45), 100],
  ])('cpu from %j to %j is %d %%', (before, after, expected) => {
    expect(cpuPercent(before, after)).toBe(expected)
  })
  test('memory counts what caches would give back', () => {
    expect(parseMeminfo('MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:   600 kB\n')).toEqual({
      total: 1000 * 1024,
      available: 600 * 1024,
    })
    expect(() => parseMeminfo('')).toThrow()
  })

  test('are read at once, with the GPUs as last seen, and null while nvidia-smi fails', async () => {
    const readings = await parsed('h100')
    let answer = Promise.withResolvers<typeof readings>()
    let asked = 0
    const reader = new UsageReader({
      dataDir: folder,
      gpus: () => readings.map(({ gpu }) => gpu),
      diskLow: () => true,
      nvidia: () => {
        asked++
        return answer.promise
      },
    })
    const first = await reader.read()
    expect(Usage.parse(first)).toEqual(first)
    expect(first).toMatchObject({ disk_low: true, gpus: [{ utilization_percent: null, memory_used: null }] })
    await reader.read()
    expect(asked).toBe(1)
    answer.resolve(readings)
    await reader.settled()
    answer = Promise.withResolvers()
    expect((await reader.read()).gpus).toEqual([readings[0]?.usage])
    answer.reject(new Error('nvidia-smi failed'))
    await reader.settled()
    expect((await reader.read()).gpus[0]?.temperature_c).toBeNull()
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
