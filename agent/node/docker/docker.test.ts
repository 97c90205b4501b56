import { describe, expect, test } from 'vitest'
import { resources } from '../doubles.ts'
import type { Launch } from '../runtime.ts'
import { negotiated } from './engine.ts'
import { FrameParser, RecordMaker } from './frames.ts'
import { containerName, containerSpec, labelFilter, type Host } from './spec.ts'

test.each([
  ['1.41', '1.12', '1.41'],
  ['1.52', '1.44', '1.47'],
  ['1.99', '1.60', '1.60'],
  ['1.9', undefined, '1.9'],
])('an engine that speaks %s back to %s is spoken to in %s', (newest, oldest, expected) => {
  expect(negotiated(newest, oldest)).toBe(expected)
})

describe('the log stream', () => {
  const frame = (stream: 1 | 2, payload: string | Buffer) => {
    const body = Buffer.from(payload)
    const header = Buffer.alloc(8)
    header[0] = stream
    header.writeUInt32BE(body.length, 4)
    return Buffer.concat([header, body])
  }
  const t = (n: number) => `2026-01-01T00:00:0${n}.000000000Z`
  const records = (chunks: readonly Buffer[]) => {
    const [parser, maker] = [new FrameParser(), new RecordMaker()]
    const made = chunks.flatMap((chunk) => parser.push(chunk)).flatMap((one) => maker.push(one))
    return { made, rest: maker.flush() }
  }
  const log = Buffer.concat([
    frame(1, `${t(1)} one\n`),
    frame(2, `${t(2)} \n`),
    frame(1, `${t(3)} two `),
    frame(2, `${t(4)} between\n`),
    frame(1, `${t(3)} words\n`),
  ])
  const expected = [
    { t: t(1), s: 'o', l: 'one' },
    { t: t(2), s: 'e', l: '' },
    { t: t(4), s: 'e', l: 'between' },
    { t: t(3), s: 'o', l: 'two words' },
  ]

  test('is cut into records, and the pieces of a line are put together', () => {
    expect(records([log])).toEqual({ made: expected, rest: [] })
  })
  test('may arrive in chunks of any size', () => {
    for (let size = 1; size < 40; size++) {
      const chunks = []
      for (let at = 0; at < log.length; at += size) chunks.push(log.subarray(at, at + size))
      expect(records(chunks).made).toEqual(expected)
    }
  })
  test('a character cut by the engine stays one, and other bytes are replaced', () => {
    const [first, second] = [Buffer.from([0xc3]), Buffer.from([0xa9, 0xff, 0x0a])]
    const time = Buffer.from(`${t(1)} `)
    const { made } = records([
      frame(1, Buffer.concat([time, first])),
      frame(1, Buffer.concat([time, second])),
    ])
    expect(made.map(({ l }) => l)).toEqual(['é\ufffd'])
  })
  test('a very long line comes in pieces of 64 KiB', () => {
    const pieces = Array.from({ length: 9 }, (_, i) =>
      frame(1, `${t(1)} ${'x'.repeat(16384)}${i === 8 ? '\n' : ''}`),
    )
    expect(records(pieces).made.map(({ l }) => l.length)).toEqual([65536, 65536, 16384])
  })
  test('a line without end is told at the end of the log, or when another one begins', () => {
    expect(records([frame(1, `${t(1)} half`)]).rest).toEqual([{ t: t(1), s: 'o', l: 'half' }])
    const { made } = records([frame(1, `${t(1)} half`), frame(1, `${t(2)} next\n`)])
    expect(made.map(({ l }) => l)).toEqual(['half', 'next'])
  })
  test('something else than a log stream is refused', () => {
    expect(() => new FrameParser().push(Buffer.from('HTTP/1.1 200 OK'))).toThrow('not a log stream')
  })
})

describe('what the engine is told of an attempt', () => {
  const launch: Launch = {
    task: 'exp-1-worker-0',
    attempt: 2,
    workload: 'exp-1',
    image: 'python:3.12',
    command: ['python', 'train.py', '--lr=0.1'],
    env: { A: '1', PYTHONUNBUFFERED: '0', NVIDIA_VISIBLE_DEVICES: 'all', CUDA_VISIBLE_DEVICES: '0,1' },
    resources: { ...resources, cpu: 1.5, memory: 2 * 1024 ** 3 },
    gpus: [],
    person: { name: 'ana', uid: 20_007 },
    asks: {},
    codeFolder: '/data/code',
    outputFolder: '/data/output',
    ownFolder: '/data/own',
    caFile: '/data/ca.pem',
  }
  const owner = { cluster: 'c1', node: 'node-1' }
  const host = { cpus: 8, cpuQuota: true, network: 'bridge' } as const
  const spec = (change: Partial<Launch> = {}, on: Partial<Host> = {}) =>
    containerSpec({ ...launch, ...change }, 'python:3.12', owner, { ...host, ...on })

  test('is its command as it is, its limits and our defaults', () => {
    const made = spec()
    expect(made).toMatchObject({
      name: 'sdc-exp-1-worker-0-2',
      Entrypoint: ['python'],
      Cmd: ['train.py', '--lr=0.1'],
      WorkingDir: '/code',
      Labels: {
        'submarine.cluster': 'c1',
        'submarine.node': 'node-1',
        'submarine.task': 'exp-1-worker-0',
        'submarine.attempt': '2',
      },
      HostConfig: {
        Init: true,
        Memory: 2 * 1024 ** 3,
        MemorySwap: 2 * 1024 ** 3,
        ShmSize: 1024 ** 3,
        NanoCpus: 1_500_000_000,
        RestartPolicy: { Name: 'no' },
        SecurityOpt: ['no-new-privileges'],
        NetworkMode: 'bridge',
        ExtraHosts: ['host.docker.internal:host-gateway'],
      },
    })
    expect(made.HostConfig?.DeviceRequests).toBeUndefined()
    expect(made.HostConfig?.Mounts).toEqual([
      { Type: 'bind', Source: '/data/code', Target: '/code', ReadOnly: false },
      { Type: 'bind', Source: '/data/output', Target: '/output', ReadOnly: false },
      { Type: 'bind', Source: '/data/ca.pem', Target: '/run/submarine/ca.pem', ReadOnly: true },
      { Type: 'bind', Source: '/data/own/home', Target: '/home/u20007', ReadOnly: false },
      { Type: 'bind', Source: '/data/own/passwd', Target: '/etc/passwd', ReadOnly: true },
      { Type: 'bind', Source: '/data/own/group', Target: '/etc/group', ReadOnly: true },
    ])
  })
  test('is its owner, who can become nobody else, in their own network', () => {
    expect(spec()).toMatchObject({ User: '20007:20007', HostConfig: { CapDrop: ['ALL'], CapAdd: [] } })
    expect(spec({}, { tenant: 'sdc-ana' }).HostConfig).toMatchObject({
      NetworkMode: 'sdc-ana',
      ExtraHosts: ['host.docker.internal:host-gateway'],
      Privileged: false,
    })
  })
  test('has of the host what it asks for', () => {
    const asks = {
      mounts: [{ path: '/data', target: '/mnt/data', read_only: true }],
      devices: ['/dev/infiniband/uverbs0'],
      capabilities: ['SYS_PTRACE'],
      network: 'host' as const,
      user: 'root' as const,
    }
    const made = spec({ asks }, { tenant: 'sdc-ana' })
    expect(made).toMatchObject({
      User: '0:0',
      HostConfig: {
        NetworkMode: 'host',
        CapDrop: ['ALL'],
        Devices: [{ PathOnHost: '/dev/infiniband/uverbs0', PathInContainer: '/dev/infiniband/uverbs0' }],
      },
    })
    expect(made.HostConfig?.CapAdd).toContain('SYS_PTRACE')
    expect(made.HostConfig?.CapAdd).not.toContain('NET_RAW')
    expect(made.HostConfig?.Mounts?.at(-1)).toEqual({
      Type: 'bind',
      Source: '/data',
      Target: '/mnt/data',
      ReadOnly: true,
    })
    expect(made.Env).toContain('HOME=/root')
  })
  test('its environment may set what is a default, but never which GPUs it sees', () => {
    expect(spec().Env).toEqual([
      'PYTHONUNBUFFERED=0',
      'HOME=/home/u20007',
      'USER=u20007',
      'A=1',
      'NVIDIA_VISIBLE_DEVICES=void',
      'HIP_VISIBLE_DEVICES=',
      'CUDA_VISIBLE_DEVICES=',
      'ROCR_VISIBLE_DEVICES=',
      'SUBMARINE_OUTPUT=/output',
      'SUBMARINE_CA=/run/submarine/ca.pem',
    ])
  })
  test('GPUs are asked for by their UUIDs', () => {
    const made = spec({ gpus: ['GPU-a', 'GPU-b'] })
    expect(made.HostConfig?.DeviceRequests).toEqual([
      { Driver: 'nvidia', DeviceIDs: ['GPU-a', 'GPU-b'], Capabilities: [['gpu']] },
    ])
    expect(made.Env).toContain('NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-b')
    // Inside, libraries count from 0: what the experiment said of the host's devices is gone.
    expect(made.Env?.some((line) => line.startsWith('CUDA_VISIBLE_DEVICES'))).toBe(false)
  })
  test('an engine without the runtime of NVIDIA is asked by CDI', () => {
    expect(spec({ gpus: ['GPU-a'] }, { nvidia: 'cdi' }).HostConfig?.DeviceRequests).toEqual([
      { Driver: 'cdi', DeviceIDs: ['nvidia.com/gpu=GPU-a'] },
    ])
  })
  test('GPUs of AMD are given as the files of exactly these devices, with their groups', () => {
    const gpu = {
      uuid: 'GPU-1f',
      index: 0,
      vendor: 'amd',
      model: 'MI300X',
      memory: 1,
      device: '/dev/dri/renderD129',
    } as const
    const made = spec({ gpus: ['GPU-1f'] }, { gpus: [gpu], deviceGroups: ['44', '109'] })
    expect(made.HostConfig?.DeviceRequests).toBeUndefined()
    expect(made.HostConfig).toMatchObject({
      Devices: [
        { PathOnHost: '/dev/kfd', PathInContainer: '/dev/kfd', CgroupPermissions: 'rwm' },
        { PathOnHost: '/dev/dri/renderD129', PathInContainer: '/dev/dri/renderD129' },
      ],
      GroupAdd: ['44', '109'],
    })
    expect(made.Env).toContain('NVIDIA_VISIBLE_DEVICES=void')
  })
  test('limits that an engine would refuse are brought to what it takes', () => {
    const small = spec({ resources: { ...resources, cpu: 0.001, memory: 1000 } }).HostConfig
    expect(small).toMatchObject({ NanoCpus: 10_000_000, Memory: 6 * 1024 ** 2 })
    expect(spec({ resources: { ...resources, cpu: 64 } }).HostConfig?.NanoCpus).toBe(8_000_000_000)
    expect(spec({}, { cpuQuota: false }).HostConfig?.NanoCpus).toBeUndefined()
  })
  test('without a bridge the host itself is near', () => {
    expect(spec({}, { network: 'host' }).HostConfig).toMatchObject({
      NetworkMode: 'host',
      ExtraHosts: ['host.docker.internal:127.0.0.1'],
    })
  })
  test('names hold what engines take', () => {
    expect(containerName('a/b c:d', 1)).toBe('sdc-a_b_c_d-1')
  })
  test('containers are found by cluster, node and attempt', () => {
    expect(labelFilter(owner, { task: 't', attempt: 1 })).toEqual([
      'submarine.cluster=c1',
      'submarine.node=node-1',
      'submarine.task=t',
      'submarine.attempt=1',
    ])
  })
})
