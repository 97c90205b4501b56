import { describe, expect, it } from 'vitest'
import { ContainerPolicy, type ContainerAsks, defaultContainerPolicy, policyFaults } from './policy.ts'
import { parseSpec } from './spec.ts'

const faultsIn = (spec: Record<string, unknown>) => {
  const parsed = parseSpec({ name: 'x', command: 'true', ...spec })
  return 'errors' in parsed ? parsed.errors.map(({ pointer }) => pointer) : []
}
const read = (spec: Record<string, unknown>) => {
  const parsed = parseSpec({ name: 'x', command: 'true', ...spec })
  if ('errors' in parsed) throw new Error(JSON.stringify(parsed.errors))
  return parsed.spec
}

describe('what a spec asks of the host', () => {
  it('is read in short and in long', () => {
    const mounts = ['/data', '/a:/b', '/a/c:/d:rw', { path: '/e', target: '/f', read_only: false }]
    expect(read({ mounts, capabilities: ['cap_sys_ptrace'], user: 'root' })).toMatchObject({
      mounts: [
        { path: '/data', target: '/data', read_only: true },
        { path: '/a', target: '/b', read_only: true },
        { path: '/a/c', target: '/d', read_only: false },
        { path: '/e', target: '/f', read_only: false },
      ],
      capabilities: ['SYS_PTRACE'],
      user: 'root',
    })
    expect(read({ mounts: [] })).not.toHaveProperty('mounts')
    // A canonical spec is a spec.
    const whole = read({ mounts, network: 'host' })
    expect(read({ mounts: whole.mounts, network: whole.network }).mounts).toEqual(whole.mounts)
  })

  it.each<[string, Record<string, unknown>, string]>([
    ['a privileged container', { privileged: true }, '/privileged'],
    ["the host's processes", { pid: 'host' }, '/pid'],
    ["the host's memory", { ipc: 'host' }, '/ipc'],
    ['a security profile of none', { security_opt: ['seccomp=unconfined'] }, '/security_opt'],
    ['a folder with a way up', { mounts: ['/data/../etc'] }, '/mounts/0'],
    ['a relative folder', { mounts: ['data'] }, '/mounts/0'],
    ['another separator', { mounts: ['/data:/x:rw:z'] }, '/mounts/0'],
    ['a place of the cluster’s own', { mounts: ['/data:/code'] }, '/mounts/0'],
    ['a place that chooses GPUs', { mounts: ['/data:/var/run/nvidia-container-devices/all'] }, '/mounts/0'],
    ['the list of users', { mounts: ['/data:/etc/passwd'] }, '/mounts/0'],
    ['all of the root’s power', { capabilities: ['SYS_ADMIN'] }, '/capabilities/0'],
    ['all capabilities', { capabilities: ['ALL'] }, '/capabilities/0'],
    ['the network of another container', { network: 'container:abc' }, '/network'],
    ['a user by number', { user: '0:0' }, '/user'],
  ])('%s cannot even be asked for', (_what, spec, pointer) => {
    expect(faultsIn(spec)).toEqual([pointer])
  })
})

describe('a policy', () => {
  it.each([
    '/', '/var', '/var/run', '/var/run/docker.sock', '/run', '/etc', '/etc/ssl', '/proc', '/sys/fs', '/dev/shm', '/root', '/usr',
    '/var/lib/docker/volumes', '/data/engine.sock', '/data/../etc', 'data', '/data/',
  ])('never gives %s', (path) => {
    expect(ContainerPolicy.safeParse({ mounts: [{ path, for: ['*'] }] }).success).toBe(false)
  }) // prettier-ignore
  it.each(['/dev/nvidia0', '/dev/dri/card0', '/dev/kfd', '/dev/mem', '/dev/sda', '/dev/nvme0n1', '/dev/dm-0', '/etc/x'])(
    'never gives the device %s',
    (path) => {
      expect(ContainerPolicy.safeParse({ devices: [{ path, for: ['*'] }] }).success).toBe(false)
    },
  ) // prettier-ignore
  it('gives no folder that lies in another one that it gives', () => {
    const mounts = ['/data', '/data/ml'].map((path) => ({ path, for: ['*'] }))
    expect(ContainerPolicy.safeParse({ mounts }).success).toBe(false)
    expect(ContainerPolicy.safeParse({ mounts: [{ path: '/data-2', for: [] }, mounts[0]] }).success).toBe(
      true,
    )
  })

  const policy = ContainerPolicy.parse({
    mounts: [
      { path: '/data', for: ['team:ml'] },
      { path: '/scratch', read_only: false, for: ['user:ana'] },
    ],
    devices: [{ path: '/dev/infiniband/uverbs0', for: ['*'] }],
    capabilities: [{ name: 'SYS_PTRACE', for: ['user:ana'] }],
    host_network: ['team:ml'],
    root: ['user:ana'],
  })
  const ana = { name: 'ana', teams: ['ml'] }
  const mount = (path: string, read_only = true) => ({ path, target: '/mnt/x', read_only })
  const whole: ContainerAsks = {
    mounts: [mount('/data'), mount('/scratch', false)],
    devices: ['/dev/infiniband/uverbs0'],
    capabilities: ['SYS_PTRACE'],
    network: 'host',
    user: 'root',
  }

  it('allows those it names, and says to the others what an admin would have to add', () => {
    expect(policyFaults(whole, policy, ana)).toEqual([])
    const others = policyFaults(whole, policy, { name: 'ben', teams: [] })
    expect(others.map(({ pointer }) => pointer)).toEqual([
      '/mounts/0',
      '/mounts/1',
      '/capabilities/0',
      '/network',
      '/user',
    ])
    expect(others[0]?.message).toBe(
      'the cluster\'s policy does not allow ben to mount /data of the host; an admin would have to add it to "mounts" (submarine policy set)',
    )
  })
  it('allows nothing before an admin said so', () => {
    expect(policyFaults(whole, defaultContainerPolicy, ana)).toHaveLength(6)
    expect(policyFaults({}, defaultContainerPolicy, ana)).toEqual([])
  })
  it('means exactly the folder, to read where it does not say more', () => {
    const of = (asks: ContainerAsks) => policyFaults(asks, policy, ana).length
    expect(of({ mounts: [mount('/data/inner')] })).toBe(1)
    expect(of({ mounts: [mount('/data', false)] })).toBe(1)
    expect(of({ mounts: [mount('/scratch')] })).toBe(0)
  })
  it('says that capabilities are for root', () => {
    expect(policyFaults({ capabilities: ['SYS_PTRACE'] }, policy, ana)).toEqual([
      { pointer: '/capabilities/0', message: 'has an effect with "user: root" only' },
    ])
  })
})
