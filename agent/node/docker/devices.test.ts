import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import type Docker from 'dockerode'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Gpu } from '../../../contract/index.ts'
import { mismatch } from './devices.ts'

let proc: string
beforeEach(async () => {
  proc = await mkdtemp(path.join(os.tmpdir(), 'proc-'))
})
afterEach(() => rm(proc, { recursive: true }))

const gpu = (uuid: string, part: Partial<Gpu> = {}): Gpu => ({
  uuid, index: 0, vendor: 'nvidia', model: 'L4', memory: 1, ...part,
}) // prettier-ignore
const host = {
  gpus: [gpu('GPU-a'), gpu('GPU-b'), gpu('MIG-1', { mig: { parent: 'GPU-a', profile: '1g.5gb' } })],
  minors: new Map([['GPU-a', 3], ['GPU-b', 0], ['MIG-1', 3]]),
} // prettier-ignore

/** What the first process of the container could open. */
async function files(...names: string[]) {
  await mkdir(path.join(proc, '7/root/dev/dri'), { recursive: true })
  for (const name of names) await writeFile(path.join(proc, '7/root/dev', name), '')
}

/** An engine's double with one container, pid 7; `inside` is what nvidia-smi -L writes there, none without one. */
function engine(inside?: { output: string; exitCode: number }, running = true): Docker {
  const exec = {
    start: () => {
      const stream = new PassThrough()
      const payload = Buffer.from(inside?.output ?? '')
      const header = Buffer.alloc(8, 0)
      header[0] = 1
      header.writeUInt32BE(payload.length, 4)
      stream.end(Buffer.concat([header, payload]))
      return Promise.resolve(stream)
    },
    inspect: () => Promise.resolve({ ExitCode: inside?.exitCode }),
  }
  const container = {
    exec: () => (inside ? Promise.resolve(exec) : Promise.reject(new Error('executable file not found'))),
    inspect: () => Promise.resolve({ State: { Running: running, Pid: 7 } }),
  }
  return { getContainer: () => container } as unknown as Docker
}
const list = (...uuids: string[]) => ({
  output: uuids.map((uuid, at) => `GPU ${at}: NVIDIA L4 (UUID: ${uuid})\n`).join(''),
  exitCode: 0,
})
const check = (docker: Docker, wanted: string[]) => mismatch(docker, 'id', wanted, host, proc)

test('exactly its own, seen from inside, is right; more, less or others is not', async () => {
  expect(await check(engine(list('GPU-a', 'GPU-b')), ['GPU-b', 'GPU-a'])).toBeUndefined()
  const more = await check(engine(list('GPU-a', 'GPU-b')), ['GPU-a'])
  expect(more).toMatchObject({ code: 'gpu_mismatch' })
  expect(more?.message).toContain('it sees GPU-b, which is not its own')
  expect((await check(engine(list('GPU-a')), ['GPU-a', 'GPU-b']))?.message).toContain('does not see GPU-b')
})

test('a slice is right by its own UUID', async () => {
  const output = 'GPU 0: NVIDIA A100 (UUID: GPU-a)\n  MIG 1g.5gb      Device  0: (UUID: MIG-1)\n'
  expect(await check(engine({ output, exitCode: 0 }), ['MIG-1'])).toBeUndefined()
})

test('a container that lost its way to the driver is told apart from one that sees others', async () => {
  const lost = await check(engine({ output: 'Failed to initialize NVML: Unknown Error\n', exitCode: 255 }), [
    'GPU-a',
  ])
  expect(lost).toMatchObject({ code: 'gpu_unreachable' })
  expect(lost?.message).toContain('Failed to initialize NVML: Unknown Error')
})

test('without nvidia-smi in the image the device files tell, by their numbers', async () => {
  await files('nvidia3', 'nvidiactl', 'nvidia-uvm', 'null')
  expect(await check(engine(), ['GPU-a'])).toBeUndefined()
  expect(await check(engine(), ['MIG-1'])).toBeUndefined()
  expect((await check(engine(), ['GPU-b']))?.code).toBe('gpu_mismatch')
  const missing = { output: 'exec failed: nvidia-smi: executable file not found', exitCode: 127 }
  expect(await check(engine(missing), ['GPU-a'])).toBeUndefined()
})

test('a task without GPUs must see none, of either vendor', async () => {
  await files('null')
  expect(await check(engine(), [])).toBeUndefined()
  await files('nvidia0')
  expect((await check(engine(), []))?.message).toContain('it sees /dev/nvidia0, which is not its own')
  await rm(path.join(proc, '7/root/dev/nvidia0'))
  await files('dri/renderD128')
  expect((await check(engine(), []))?.message).toContain('/dev/dri/renderD128')
})

test('where nobody can tell, nothing is wrong', async () => {
  expect(await check(engine(), ['GPU-a'])).toBeUndefined()
  await files('nvidia0')
  expect(await check(engine(undefined, false), [])).toBeUndefined()
  expect(await mismatch(engine(), 'id', [], { gpus: [], minors: new Map() }, proc)).toBeUndefined()
  expect(await mismatch(engine(), 'id', ['GPU-a'], { ...host, minors: new Map() }, proc)).toBeUndefined()
})
