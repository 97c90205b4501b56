import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Gpu } from '../../../contract/index.ts'
import { parseAmd } from './amd.ts'
import { amd, nvidia } from './gpus.ts'
import { parseNvidia } from './nvidia.ts'
import { endsTasks } from './nvidia-health.ts'
import { listedUuids } from './nvidia-mig.ts'
import { parseTopology } from './nvidia-topology.ts'
import { busKey } from './reading.ts'
import { parseRocm } from './rocm.ts'

const MiB = 1024 ** 2
const at = (name: string) => path.join(import.meta.dirname, 'fixtures', name)
const fixture = (name: string) => readFile(at(name), 'utf8')
const parsed = async (name: string) => parseNvidia(await fixture(`${name}.xml`))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'gpus-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** A double of a vendor's program. */
async function program(name: string, script: string): Promise<string> {
  const file = path.join(folder, name)
  await writeFile(file, `#!/bin/sh\n${script}\n`)
  await chmod(file, 0o755)
  return file
}

describe('nvidia-smi', () => {
  test('of driver 470 tells of what is there and how it does', async () => {
    const { readings } = await parsed('rtx-3090')
    expect(readings[0]).toEqual({
      gpu: {
        uuid: 'GPU-5f1c4b7e-3a0d-8f52-9c1e-2b6d7a8e9f01',
        index: 0,
        vendor: 'nvidia',
        model: 'NVIDIA GeForce RTX 3090',
        memory: 24268 * MiB,
        driver: '470.256.02',
        cuda: '11.4',
        bus_id: '00000000:17:00.0',
      },
      usage: {
        uuid: 'GPU-5f1c4b7e-3a0d-8f52-9c1e-2b6d7a8e9f01',
        utilization_percent: 97,
        memory_used: 10412 * MiB,
        temperature_c: 66,
        power_w: 341.25,
      },
      processes: [{ pid: 21734, name: 'python', memory: 10403 * MiB, kind: 'compute' }],
      minor: 0,
    })
    expect(readings[1]).toMatchObject({
      gpu: { index: 1, bus_id: '00000000:65:00.0' },
      usage: { utilization_percent: 0, power_w: null },
    })
  })

  test('of driver 550, alone in its host', async () => {
    expect((await parsed('h100')).readings).toMatchObject([
      {
        gpu: { model: 'NVIDIA H100 80GB HBM3', memory: 81559 * MiB, cuda: '12.4' },
        usage: { memory_used: 4 * MiB, temperature_c: 29, power_w: 69.62 },
        processes: [],
      },
    ])
  })

  test('tells graphics from computing, and what it does not measure is not 0', async () => {
    const { readings } = await parsed('rtx-3080')
    expect(readings[0]?.processes).toEqual([
      { pid: 1712, name: '/usr/lib/xorg/Xorg', memory: 612 * MiB, kind: 'graphics' },
      { pid: 2290, name: '/usr/bin/gnome-shell', memory: null, kind: 'compute' },
    ])
    expect(readings[0]).not.toHaveProperty('minor')
  })

  test('writes other words in place of values it has given up', async () => {
    const { readings } = await parsed('a5000')
    expect(readings[0]?.usage).toMatchObject({ power_w: 6.52, memory_used: 22437 * MiB })
    expect(readings[0]?.gpu).not.toHaveProperty('fault')
  })

  test('names a GPU that fell off its bus by that alone', async () => {
    const { readings, lost } = await parsed('a100-mig-and-lost')
    expect(readings).toHaveLength(1)
    expect(lost).toEqual(new Map([['0000:41:00', 'GPU is lost']]))
  })

  test('names slices only in its list: then they are devices in place of the whole', async () => {
    const { readings } = parseNvidia(await fixture('a100-mig.xml'), await fixture('a100-mig.txt'))
    expect(readings.map(({ gpu }) => gpu)).toMatchObject([
      { uuid: 'GPU-3a71c0d2-5b16-9e44-a0c8-6d2f17b9e035', mig_mode: true, memory: 40960 * MiB },
      {
        uuid: 'MIG-41f0c7d5-9a2e-5c13-8b67-0e9d3f21a4b6',
        mig: { parent: 'GPU-3a71c0d2-5b16-9e44-a0c8-6d2f17b9e035', profile: '3g.20gb' },
        memory: 19968 * MiB,
      },
      { uuid: 'MIG-8e25b3a9-1c7f-5d40-92e1-7ac04f6d5382' },
    ])
    expect(readings.map(({ processes }) => processes.map(({ pid }) => pid))).toEqual([[30144], [], [30144]])
    for (const { gpu } of readings) expect(Gpu.parse(gpu)).toEqual(gpu)
  })

  test('lists what a container sees: slices instead of what they are cut from', async () => {
    expect(listedUuids(await fixture('a100-mig.txt'))).toEqual([
      'MIG-41f0c7d5-9a2e-5c13-8b67-0e9d3f21a4b6',
      'MIG-8e25b3a9-1c7f-5d40-92e1-7ac04f6d5382',
    ])
    expect(listedUuids('GPU 0: NVIDIA L4 (UUID: GPU-1)\nGPU 1: NVIDIA L4 (UUID: GPU-2)\n')).toEqual([
      'GPU-1',
      'GPU-2',
    ])
  })

  test('of something else is an error', () => {
    expect(() => parseNvidia('NVIDIA-SMI has failed')).toThrow('something else')
    expect(() => parseNvidia('<html><body/></html>')).toThrow('something else')
    expect(parseNvidia('<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>').readings).toEqual(
      [],
    )
  })
})

describe('a device is sick', () => {
  const codes = async (name: string) =>
    (await parsed(name)).readings.map(({ gpu }) => gpu.fault?.code ?? 'well')

  test('as its driver says in its way', async () => {
    expect(await codes('sick')).toEqual([
      'well',
      'gpu_needs_reset',
      'gpu_memory_errors',
      'gpu_repair_pending',
      'gpu_memory_broken',
    ])
    expect(await codes('a5000')).toEqual(['well', 'gpu_needs_reset'])
    expect(await codes('k80')).toEqual(['well', 'gpu_memory_errors'])
    expect(await codes('rtx-3080')).toEqual(['well'])
  })
  test('so that its task ends, or only so that it takes no further one', () => {
    const ends = (code: string) => endsTasks({ code, message: '' })
    expect(['gpu_lost', 'gpu_needs_reset', 'gpu_memory_errors', 'gpu_failed'].every(ends)).toBe(true)
    expect(['gpu_repair_pending', 'driver_silent', 'gpu_memory_broken'].some(ends)).toBe(false)
  })
})

describe('the way between devices', () => {
  test('of eight with NVLink beside network cards', async () => {
    const { links, numa } = parseTopology(await fixture('topo-a100.txt'))
    expect(links.size).toBe(8)
    expect(Object.fromEntries(links.get(2) ?? [])).toEqual({
      0: 'NV12', 1: 'NV12', 3: 'NV12', 4: 'NV12', 5: 'NV12', 6: 'NV12', 7: 'NV12',
    }) // prettier-ignore
    expect([numa.get(0), numa.get(7)]).toEqual([0, 1])
  })
  test('aligned by spaces, with no NUMA node', async () => {
    const { links, numa } = parseTopology(await fixture('topo-1080ti.txt'))
    expect([...links].map(([from, to]) => [from, ...to])).toEqual([
      [0, [1, 'PHB']],
      [1, [0, 'PHB']],
    ])
    expect(numa.size).toBe(0)
  })
  test('of an older program without that column', async () => {
    const { links, numa } = parseTopology(await fixture('topo-k80.txt'))
    expect([links.get(0)?.get(1), links.get(0)?.get(2), links.get(0)?.get(7)]).toEqual(['PIX', 'PHB', 'SYS'])
    expect(numa.size).toBe(0)
  })
  test('is unknown where nothing was told', () => {
    expect(parseTopology('').links.size).toBe(0)
    expect(parseTopology('Failed to initialize NVML: Driver/library version mismatch').links.size).toBe(0)
  })
})

describe('amd-smi', () => {
  const outputs = async (name: string, ...more: string[]) => {
    const read = (verb: string) => fixture(`${name}-${verb}.json`)
    const [list, fixed, metric] = await Promise.all(['list', 'static', 'metric'].map(read))
    const others = await Promise.all(more.map(async (verb) => [verb, await read(verb)] as const))
    return { list: list ?? '', static: fixed ?? '', metric: metric ?? '', ...Object.fromEntries(others) }
  }

  test('tells of devices, their links and what runs on them', async () => {
    const { readings } = parseAmd(await outputs('mi300x', 'topology', 'process'))
    expect(readings[0]).toEqual({
      gpu: {
        uuid: 'GPU-a71c40e93b5d2f86',
        index: 0,
        vendor: 'amd',
        model: 'AMD Instinct MI300X',
        memory: 196592 * MiB,
        driver: '6.10.5',
        bus_id: '0000:0c:00.0',
        numa: 0,
        links: { 'GPU-3e90d17a68c2b5f4': 'XGMI' },
      },
      usage: {
        uuid: 'GPU-a71c40e93b5d2f86',
        utilization_percent: 83,
        memory_used: 120283 * MiB,
        temperature_c: 61,
        power_w: 702,
      },
      processes: [{ pid: 41877, name: 'python3', memory: 125829120000, kind: 'compute' }],
    })
    expect(readings[1]).toMatchObject({ gpu: { fault: { code: 'gpu_memory_errors' } }, processes: [] })
    for (const { gpu } of readings) expect(Gpu.parse(gpu)).toEqual(gpu)
  })

  test('of version 26 puts it one level lower, and a card for screens has no serial', async () => {
    const { readings } = parseAmd(await outputs('w7700'))
    expect(readings).toMatchObject([
      {
        gpu: { uuid: 'GPU-00ff7470-0000-1000-8000-000000000000', model: 'AMD Radeon PRO W7700' },
        usage: { utilization_percent: 42, temperature_c: 47 },
      },
    ])
    expect(readings[0]?.gpu).not.toHaveProperty('numa')
  })

  test('of something else is an error', () => {
    expect(() => parseAmd({ list: '{"error": 1}', static: '[]', metric: '[]' })).toThrow('something else')
  })
})

describe('rocm-smi', () => {
  test('tells of devices with the names of its version', async () => {
    const { readings } = parseRocm(`WARNING: a card is in low-power state\n${await fixture('mi100.json')}`)
    expect(readings.map(({ gpu }) => gpu)).toMatchObject([
      {
        uuid: 'GPU-51f3a9c0d7e2846b',
        model: 'Arcturus GL-XL [Instinct MI100]',
        memory: 34342961152,
        numa: 1,
        links: { 'GPU-04bc71e90a25f38d': 'PHB' },
      },
      { uuid: 'GPU-04bc71e90a25f38d', index: 1, driver: '6.3.6' },
    ])
    expect(readings[1]?.usage).toMatchObject({ temperature_c: 55, power_w: 44, memory_used: 6750208 })
  })
  test('knows a card without a number of its own by where it is plugged in', async () => {
    expect(parseRocm(await fixture('rx6700xt.json')).readings).toMatchObject([
      { gpu: { uuid: 'GPU-at-0000:07:00.0', model: 'AMD GPU', numa: 0 }, usage: { power_w: 6 } },
    ])
  })
})

describe('a host', () => {
  test('is asked for slices and links, and the latter only when its devices change', async () => {
    const smi = await program(
      'nvidia-smi',
      `echo "$*" >> ${folder}/asked
case "$*" in
  "-q -x") cat '${at('a100-mig.xml')}' ;;
  -L) cat '${at('a100-mig.txt')}' ;;
  "topo -m") cat '${at('topo-1080ti.txt')}' ;;
esac`,
    )
    const devices = path.join(folder, 'sys/bus/pci/devices/0000:00:04.0')
    await mkdir(devices, { recursive: true })
    await writeFile(path.join(devices, 'numa_node'), '1\n')
    const read = nvidia({ nvidiaSmi: smi, sysfs: path.join(folder, 'sys') })
    const found = await read()
    expect(found?.readings.map(({ gpu }) => gpu.numa)).toEqual([1, 1, 1])
    await read()
    expect(await readFile(path.join(folder, 'asked'), 'utf8')).toBe('-q -x\n-L\ntopo -m\n-q -x\n-L\n')
  })

  test('without a driver has none; a driver that hangs or fails is an error', async () => {
    expect(await nvidia({ nvidiaSmi: path.join(folder, 'absent') })()).toBeUndefined()
    expect(await amd({ amdSmi: path.join(folder, 'a'), rocmSmi: path.join(folder, 'b') })()).toBeUndefined()
    const hangs = await program('nvidia-smi', 'exec sleep 60')
    await expect(nvidia({ nvidiaSmi: hangs, timeoutMs: 100 })()).rejects.toThrow(
      'did not answer within 0.1 s',
    )
    const fails = await program('nvidia-smi', 'echo "Driver/library version mismatch"; exit 18')
    await expect(nvidia({ nvidiaSmi: fails })()).rejects.toThrow('exit code 18: Driver/library version')
  })

  test('of which one device does not answer is asked for the others', async () => {
    const smi = await program(
      'nvidia-smi',
      `case "$*" in
  "-q -x -i 0000:17:00.0,0000:65:00.0") cat '${at('rtx-3090.xml')}' ;;
  *) echo 'Unable to determine the device handle for GPU0000:0A:00.0: GPU is lost.  Reboot the system to recover this GPU'; exit 15 ;;
esac`,
    )
    for (const bus of ['0000:0a:00.0', '0000:17:00.0', '0000:65:00.0'])
      await mkdir(path.join(folder, 'gpus', bus), { recursive: true })
    const found = await nvidia({ nvidiaSmi: smi, driver: path.join(folder, 'gpus') })()
    expect(found?.readings.map(({ gpu }) => [gpu.index, gpu.bus_id])).toEqual([
      [1, '00000000:17:00.0'],
      [2, '00000000:65:00.0'],
    ])
    expect(found?.lost.get('0000:0a:00')).toMatch(/^GPU is lost/)
  })

  test('whose last device is gone says so by an error that is none', async () => {
    const smi = await program('nvidia-smi', 'echo "No devices were found"; exit 6')
    expect(await nvidia({ nvidiaSmi: smi })()).toEqual({ readings: [], lost: new Map() })
  })

  test('with amd-smi is asked by it, and by rocm-smi where there is none', async () => {
    const amdSmi = await program('amd-smi', `cat '${at('mi300x')}'-"$1".json`)
    const rocmSmi = await program('rocm-smi', `cat '${at('mi100.json')}'`)
    const drm = path.join(folder, 'sys/bus/pci/devices/0000:0c:00.0/drm')
    await mkdir(path.join(drm, 'renderD129'), { recursive: true })
    const newer = await amd({ amdSmi, rocmSmi, sysfs: path.join(folder, 'sys') })()
    expect(newer?.readings.map(({ gpu }) => gpu.device)).toEqual(['/dev/dri/renderD129', undefined])
    const older = await amd({ amdSmi: path.join(folder, 'absent'), rocmSmi })()
    expect(older?.readings[0]?.gpu.model).toContain('MI100')
  })
})

test('a bus is known however it is spelled', () => {
  expect(new Set(['00000000:3B:00.0', '0000:3b:00.0', '0000:3b:00', '3B:00.0'].map(busKey))).toEqual(
    new Set(['0000:3b:00']),
  )
  expect(busKey('00010000:3B:00.0')).toBe('10000:3b:00')
})
