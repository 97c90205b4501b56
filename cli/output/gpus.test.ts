import { expect, test } from 'vitest'
import type { Gpu, GpuProcess, Node } from '../../contract/nodes.ts'
import type { Terminal } from '../terminal.ts'
import { nodeGpus } from './gpus.ts'

const GiB = 1024 ** 3
const terminal = { paint: (_: string, text: string) => text } as unknown as Terminal
const gpu = (uuid: string, index: number, part: Partial<Gpu> = {}): Gpu => ({
  uuid, index, vendor: 'nvidia', model: 'NVIDIA A100', memory: 40 * GiB, ...part,
}) // prettier-ignore
const process = (part: Partial<GpuProcess>): GpuProcess => ({
  pid: 7, user: 'eva', name: 'ollama', memory: 2 * GiB, kind: 'compute', task: null, blocking: true, ...part,
}) // prettier-ignore
const figures = { utilization_percent: 97, memory_used: GiB, temperature_c: 60, power_w: 301.4 }

test('a node shows each device, who uses it, and what is wrong', () => {
  const node = {
    inventory: {
      gpus: [
        gpu('GPU-a', 0, { links: { 'GPU-b': 'NV12', 'GPU-c': 'NV12' }, numa: 1, shared: true }),
        gpu('GPU-b', 1),
        gpu('GPU-c', 2, { fault: { code: 'gpu_lost', message: 'gone' } }),
      ],
    },
    usage: {
      gpus: [
        { uuid: 'GPU-a', ...figures, processes: [process({ task: 'exp-1-worker-0', blocking: false })] },
        { uuid: 'GPU-b', ...figures, processes: [process({})] },
      ],
    },
    gpus_held: [{ uuid: 'GPU-a', task: 'exp-1-worker-0' }],
    faults: ['GPU 2 (NVIDIA A100, GPU-c): gone.'],
  } as unknown as Node
  const text = nodeGpus(terminal, node)
  expect(text).toMatch(
    /0 +NVIDIA A100 +1 GiB\/40 GiB +97% +60 °C +301 W +1 +NV12×2 +exp-1-worker-0 \(shared, no isolation\) +GPU-a/,
  )
  expect(text).toMatch(/1 +NVIDIA A100 .* used from outside +GPU-b/)
  expect(text).toMatch(/NOT USED: gpu_lost +GPU-c/)
  expect(text).toMatch(/1 +7 +eva +2 GiB +compute +outside, BLOCKS +ollama/)
  expect(text).toMatch(/0 +7 .* exp-1-worker-0 +ollama/)
  expect(text).toContain('warning: GPU 2 (NVIDIA A100, GPU-c): gone.')
})

test('a node without GPUs shows nothing of them', () => {
  expect(nodeGpus(terminal, { inventory: null, usage: null, gpus_held: [] } as unknown as Node)).toBe('')
})
