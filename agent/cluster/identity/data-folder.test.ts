import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createCa, createKeyAndRequest, type Pair, signNode } from './ca.ts'
import { checkUnused, initFolder, type NewFolder, openFolder, writeClusterKeys } from './data-folder.ts'

let root: string
let data: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'submarine-data-'))
  data = join(root, 'data')
})
afterEach(() => rm(root, { recursive: true, force: true }))

const identity = {
  cluster: 'c1',
  cluster_name: 'lab',
  member: 3,
  node: 'node-3',
  name: 'host-3',
  created_at: '2026-01-31T12:00:00Z',
}
const clusterKey = Buffer.alloc(32, 7)

async function contents(more: { ca?: Pair; cluster?: string; member?: number } = {}): Promise<NewFolder> {
  const ca = more.ca ?? (await createCa('lab'))
  const { key, request } = await createKeyAndRequest()
  const { cluster = 'c1', member = 3 } = more
  const cert = await signNode({ ca, request, cluster, member, name: 'host-3', ips: [] })
  return { identity, credentials: { ca: ca.cert, cert, key }, clusterKey }
}

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

test('what was put in is found again, and secrets are for their owner alone', async () => {
  const made = await contents()
  await initFolder(data, made)
  const folder = await openFolder(data)
  expect(folder.identity).toEqual(identity)
  expect(folder.credentials).toEqual(made.credentials)
  expect(folder.clusterKeys).toEqual([clusterKey])
  expect(await readdir(data)).toEqual([
    // The second of this folder: making it was the first.
    'agent.lock.2',
    'blobs',
    'cluster.key',
    'identity.json',
    'log',
    'node',
    'state',
    'streams',
    'tasks',
    'tls',
  ])
  for (const file of ['tls/node.key', 'cluster.key']) expect(await modeOf(join(data, file))).toBe('600')
  expect(await modeOf(data)).toBe('700')
  await folder.close()
})

test('a learner has no cluster key until it is handed over', async () => {
  const { clusterKey: _, ...made } = await contents()
  await initFolder(data, made)
  const folder = await openFolder(data)
  expect(folder.clusterKeys).toEqual([])
  await writeClusterKeys(data, [clusterKey, Buffer.alloc(32, 8)])
  await folder.close()
  const again = await openFolder(data)
  expect(again.clusterKeys).toEqual([clusterKey, Buffer.alloc(32, 8)])
  await again.close()
})

test('no folder, and an empty one, are no data folder', async () => {
  await expect(openFolder(data)).rejects.toMatchObject({ code: 'not_found' })
  await mkdir(data)
  await expect(openFolder(data)).rejects.toMatchObject({ code: 'not_found' })
})

test('a folder that cannot be made is named, with what stands in the way', async () => {
  const made = initFolder('/proc/submarine/data', await contents())
  await expect(made).rejects.toThrow(/the data folder cannot be made: .*\/proc\/submarine/)
})

test('a folder that is used, or holds somebody’s files, is not made anew', async () => {
  await checkUnused(data)
  const made = await contents()
  await initFolder(data, made)
  await expect(initFolder(data, made)).rejects.toThrow(/already belongs to a cluster/)
  const other = join(root, 'home')
  await mkdir(other)
  await writeFile(join(other, 'thesis.tex'), '')
  await expect(initFolder(other, made)).rejects.toThrow(/holds other files \(thesis\.tex/)
  expect(await readdir(other)).toEqual(['thesis.tex'])
})

test('an interrupted making is refused by open and by a second making, with what to do', async () => {
  const made = await contents()
  const prepare = async () => {
    throw new Error('power cut')
  }
  await expect(initFolder(data, { ...made, prepare })).rejects.toThrow('power cut')
  for (const attempt of [openFolder(data), initFolder(data, made)])
    await expect(attempt).rejects.toMatchObject({
      message: expect.stringContaining('half-made data folder') as unknown,
      hint: expect.stringContaining('delete the folder') as unknown,
    })
})

test('what is prepared is there before the folder counts', async () => {
  const made = await contents()
  await initFolder(data, {
    ...made,
    prepare: async (folders) => {
      expect(await readdir(data)).not.toContain('identity.json')
      await writeFile(join(folders.log, 'log'), 'x')
    },
  })
  const folder = await openFolder(data)
  expect(await readFile(join(folder.folders.log, 'log'), 'utf8')).toBe('x')
  await folder.close()
})

const inFolder = (change: () => Promise<unknown>) => change
test.each([
  ['damaged identity', /damaged identity file/, inFolder(() => writeFile(join(data, 'identity.json'), '{'))],
  [
    'incomplete identity',
    /damaged identity file/,
    inFolder(() => writeFile(join(data, 'identity.json'), '{}')),
  ],
  [
    'newer format',
    /format 2, this agent knows up to 1/,
    inFolder(() => writeFile(join(data, 'identity.json'), '{"version":2,"all":"new"}')),
  ],
  [
    "another cluster's identity",
    /certificate is for member 3 of cluster c1, identity\.json says member 3 of cluster c2/,
    inFolder(() =>
      writeFile(join(data, 'identity.json'), JSON.stringify({ version: 1, ...identity, cluster: 'c2' })),
    ),
  ],
  [
    "another member's certificate",
    /certificate is for member 4/,
    inFolder(async () =>
      writeFile(join(data, 'tls/node.pem'), (await contents({ member: 4 })).credentials.cert),
    ),
  ],
  [
    "another authority's certificate",
    /do not belong together/,
    inFolder(async () => writeFile(join(data, 'tls/node.pem'), (await contents()).credentials.cert)),
  ],
  [
    'no certificate at all',
    /certificate is for member 0/,
    inFolder(() => writeFile(join(data, 'tls/node.pem'), '')),
  ],
  ['no key', /cannot read .*node\.key/, inFolder(() => rm(join(data, 'tls/node.key')))],
  ['no CA', /cannot read .*ca\.pem/, inFolder(() => rm(join(data, 'tls/ca.pem')))],
  [
    'a key that others may read',
    /mode 644 lets other users in: .*node\.key/,
    inFolder(() => chmod(join(data, 'tls/node.key'), 0o644)),
  ],
  [
    'a cluster key that others may read',
    /mode 640 lets other users in: .*cluster\.key/,
    inFolder(() => chmod(join(data, 'cluster.key'), 0o640)),
  ],
  ['a damaged cluster key', /32 bytes expected/, inFolder(() => writeFile(join(data, 'cluster.key'), 'abc'))],
  ['a folder that others may write', /mode 777 lets other users in/, inFolder(() => chmod(data, 0o777))],
])('%s: refused with what and where, and the folder is free again', async (_, message, spoil) => {
  await initFolder(data, await contents())
  await spoil()
  await expect(openFolder(data)).rejects.toMatchObject({
    message: expect.stringMatching(message) as unknown,
    hint: expect.stringMatching(/./) as unknown,
  })
  await expect(openFolder(data)).rejects.not.toThrow(/in use/)
})

test.runIf(process.getuid?.() === 0)('files of another user are refused', async () => {
  await initFolder(data, await contents())
  await chown(join(data, 'tls/node.key'), 12345, 12345)
  await expect(openFolder(data)).rejects.toThrow(/owned by user 12345, the agent runs as user 0: .*node\.key/)
})

test('a folder in use is refused, also while it is being made; afterwards it is free', async () => {
  const made = await contents()
  await initFolder(data, {
    ...made,
    prepare: async () => {
      await expect(initFolder(data, made)).rejects.toThrow(/in use by another agent/)
    },
  })
  const folder = await openFolder(data)
  await expect(openFolder(data)).rejects.toThrow(
    new RegExp(`in use by another agent \\(pid ${process.pid}\\)`),
  )
  await folder.close()
  await (await openFolder(data)).close()
})

test('the lock of a process that is gone is taken over, and one that only has its pid is not it', async () => {
  await initFolder(data, await contents())
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  const stale = [
    JSON.stringify({ pid: child.pid, started: 'boot:1' }),
    JSON.stringify({ pid: process.pid, started: 'another-boot:1' }),
    '',
    'not json',
  ]
  for (const lock of stale) {
    const [last = ''] = await locks()
    await writeFile(join(data, last), lock)
    await (await openFolder(data)).close()
    expect(await locks()).toEqual([`agent.lock.${Number(last.slice('agent.lock.'.length)) + 1}`])
  }
})

const locks = async () => (await readdir(data)).filter((name) => name.startsWith('agent.lock'))

test('of many that find a stale lock at once, one gets the folder', async () => {
  await initFolder(data, await contents())
  for (let round = 0; round < 20; round++) {
    const attempts = await Promise.allSettled(Array.from({ length: 8 }, () => openFolder(data)))
    const opened = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
    expect(opened).toHaveLength(1)
    await opened[0]?.close()
  }
  expect(await locks()).toHaveLength(1)
})
