// With doubles of nvidia-smi and of NVIDIA's hook, since no GPU is at hand: see gpu-host.ts for what of it is real.
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Node } from '../../contract/index.ts'
import { loadBaseImage } from '../../resources/demo/base-image.ts'
import { eventually, Lab } from '../cluster/lab.ts'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'
import { type DoubleGpu, type GpuHost, gpuHost } from './gpu-host.ts'

const [first, second]: [DoubleGpu, DoubleGpu] = [
  { uuid: 'GPU-11111111-aaaa-4bbb-8ccc-000000000001', minor: 0 },
  { uuid: 'GPU-22222222-aaaa-4bbb-8ccc-000000000002', minor: 1 },
]

describe('a host with GPUs (doubles of nvidia-smi and its hook, a real engine)', needs.engine, () => {
  const before = process.env['PATH']
  let root: string
  let host: GpuHost
  let engine: Engine
  let lab: Lab

  beforeAll(async () => {
    root = await mkdtemp('/tmp/g-')
    await mkdir(path.join(root, 'gpus'))
    host = await gpuHost(path.join(root, 'gpus'), [first, second])
    // Both look for NVIDIA's programs on their search path, and get it from this process.
    process.env['PATH'] = `${host.bin}:${before}`
    engine = await startEngine({ root })
    const { tag } = await loadBaseImage(engine.docker)
    lab = await Lab.start({ agents: 1, docker: { socket: engine.socket, image: tag } })
  })
  afterEach(async () => {
    await host.misconfigure(false)
    await host.show([first, second])
    await untilNode('both are offered again', (node) => node.allocatable?.gpu === 2 && !blocked(node).length)
  })
  afterAll(async () => {
    process.env['PATH'] = before
    await lab?.stop()
    await engine?.stop()
    await rm(root, { recursive: true, force: true, maxRetries: 10 })
  })

  const node = () => lab.client().call('nodes.get', { params: { node: 'host-1' } })
  const blocked = ({ usage }: Node) =>
    (usage?.gpus ?? []).flatMap(({ processes = [] }) => processes.filter((one) => one.blocking))
  const untilNode = (what: string, is: (node: Node) => boolean) =>
    eventually(what, async () => is(await node()))
  const resources = (gpus: number) => `cpu=0.5, memory=64Mi${gpus ? `, gpu=${gpus}` : ''}`

  it('is known with its devices, their driver and the links between them', async () => {
    const { inventory, allocatable } = await node()
    expect(inventory?.gpus).toMatchObject([
      {
        uuid: first.uuid,
        index: 0,
        driver: '550.90.07',
        cuda: '12.4',
        numa: 0,
        links: { [second.uuid]: 'NV4' },
      },
      { uuid: second.uuid, index: 1 },
    ])
    expect(allocatable?.gpu).toBe(2)
  })

  it('shows no device to a task without GPUs, whatever the task asks for, and says so in its log', async () => {
    const { id } = await lab.submit({
      name: 'none',
      command: 'echo "$NVIDIA_VISIBLE_DEVICES [$CUDA_VISIBLE_DEVICES]"; ls /dev | grep nvidia; true',
      env: { NVIDIA_VISIBLE_DEVICES: 'all', CUDA_VISIBLE_DEVICES: '0' },
      resources: resources(0),
    })
    expect(await lab.ended(id)).toMatchObject({ state: 'Succeeded' })
    const [line, ...notes] = await lab.logOf(id)
    expect(line).toBe('void []')
    expect(notes.join()).toContain('CUDA_VISIBLE_DEVICES of the experiment was not used')
  })

  it('shows a task exactly the devices it holds', async () => {
    const { id } = await lab.submit({
      name: 'one',
      command: 'echo "$NVIDIA_VISIBLE_DEVICES"; ls /dev | grep nvidia',
      resources: resources(1),
    })
    const done = await lab.ended(id)
    expect(done).toMatchObject({ state: 'Succeeded' })
    const given = [first, second].find(({ uuid }) => uuid === done.tasks[0]?.gpus[0])
    expect(await lab.logOf(id)).toEqual([given?.uuid, `nvidia${given?.minor}`])
  })

  it('ends a task that sees others too, and says what to look at', async () => {
    await host.misconfigure(true)
    const { id } = await lab.submit({ name: 'too-many', command: 'sleep 600', resources: resources(1) })
    const done = await lab.ended(id)
    expect(done).toMatchObject({ state: 'Failed', reason: { code: 'gpu_mismatch' } })
    expect(done.reason?.message).toContain('is not its own')
  })

  it('keeps from tasks what somebody else computes on, and shows who', async () => {
    const stranger = spawn('sleep', ['600'], { stdio: 'ignore' })
    try {
      const processes = [{ pid: stranger.pid ?? 0, memory: '2048 MiB', type: 'C' as const }]
      await host.show([
        { ...first, processes },
        { ...second, processes: [{ pid: 1, memory: '9 MiB', type: 'G' }] },
      ])
      await untilNode('it is seen', (found) => blocked(found).length === 1)
      expect(blocked(await node())).toMatchObject([
        { pid: stranger.pid, user: 'root', task: null, kind: 'compute', memory: 2 * 1024 ** 3 },
      ])
      const { id } = await lab.submit({ name: 'beside', command: 'true', resources: resources(1) })
      expect((await lab.ended(id)).tasks[0]?.gpus).toEqual([second.uuid])
      const waits = await lab.submit({ name: 'both', command: 'true', resources: resources(2) })
      const queued = await lab.until(waits.id, ({ reason }) => reason !== null)
      expect(queued.state).toBe('Queued')
      await host.show([first, second])
      expect(await lab.ended(waits.id)).toMatchObject({ state: 'Succeeded' })
    } finally {
      stranger.kill('SIGKILL')
    }
  })

  it('gives up a device that vanished, and fails the task on it with the reason', async () => {
    const { id } = await lab.submit({ name: 'on-both', command: 'sleep 600', resources: resources(2) })
    await lab.until(id, ({ state }) => state === 'Running')
    await host.show([first])
    const done = await lab.ended(id)
    expect(done).toMatchObject({ state: 'Failed', reason: { code: 'device_lost' } })
    expect(done.reason?.message).toContain(second.uuid)
    await untilNode('it is offered no more', ({ allocatable }) => allocatable?.gpu === 1)
    expect((await node()).faults?.join()).toContain('it is gone from the host')
  })
})
