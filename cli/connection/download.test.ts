import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createClient } from '../../contract/client.ts'
import { DoubleAgent } from '../testing/double-agent.ts'
import { DoubleCluster } from '../testing/double-cluster.ts'
import { runCli } from '../testing/run-cli.ts'
import { downloadArtifact, openTarget } from './download.ts'
import { Transport } from './transport.ts'

let folder: string
let cluster: DoubleCluster
let transport: Transport
const data = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251))

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-download-'))
  cluster = new DoubleCluster()
  const agents = [await DoubleAgent.start(cluster), await DoubleAgent.start(cluster)]
  transport = new Transport({
    addresses: agents.map((a) => a.origin),
    token: 'known-token',
    patienceMs: 2000,
  })
  cluster.add({ name: 'train', command: 'true' }, 'Succeeded')
})
afterEach(async () => {
  await transport.close()
  for (const agent of cluster.agents) agent.kill()
  await rm(folder, { recursive: true, force: true })
})

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
function leave(name: string, bytes = data, sha256 = digest(bytes)) {
  const artifact = { task: 'exp-1-worker-0', attempt: 1, path: name, bytes: bytes.length, sha256, copies: 2 }
  cluster.artifacts.push({ ...artifact, data: bytes })
  return artifact
}
const download = async (name: string, artifact = leave(name)) =>
  downloadArtifact(createClient(transport.send), 'exp-1', artifact, await openTarget(folder, name))

describe('downloading artifacts', () => {
  it('says where no folder can be made', async () => {
    await expect(openTarget('/proc/none/such', 'a')).rejects.toThrow(
      'the folder /proc/none cannot be made (ENOENT)',
    )
    await writeFile(path.join(folder, 'file'), '')
    await expect(openTarget(path.join(folder, 'file'), 'a')).rejects.toThrow('is no folder')
  })

  it('goes on where a .part ended and leaves only the file', async () => {
    const artifact = leave('model/weights.bin')
    await mkdir(path.join(folder, 'model'))
    const part = path.join(folder, 'model', `weights.bin.${artifact.sha256.slice(0, 12)}.part`)
    await writeFile(part, data.subarray(0, 60_000))
    expect(await download('model/weights.bin', artifact)).toBe('saved')
    expect(cluster.agents[0]?.requests.at(-1)?.headers.range).toBe('bytes=60000-')
    expect(await readdir(path.join(folder, 'model'))).toEqual(['weights.bin'])
    expect(digest(await readFile(path.join(folder, 'model/weights.bin')))).toBe(artifact.sha256)
    expect(await download('model/weights.bin', artifact)).toBe('present')
  })

  it('begins anew when the part was damaged', async () => {
    const artifact = leave('a.bin')
    await writeFile(path.join(folder, `a.bin.${artifact.sha256.slice(0, 12)}.part`), Buffer.alloc(60_000, 1))
    expect(await download('a.bin', artifact)).toBe('saved')
    expect(digest(await readFile(path.join(folder, 'a.bin')))).toBe(artifact.sha256)
  })

  it('goes on through another agent when the first dies in the middle', async () => {
    const [first] = cluster.agents
    if (first) first.cutBytesAt = 40_000
    expect(await download('a.bin')).toBe('saved')
    expect(digest(await readFile(path.join(folder, 'a.bin')))).toBe(digest(data))
    expect(cluster.agents[1]?.requests.at(-1)?.headers.range).toMatch(/^bytes=[1-9]\d*-$/)
  })

  it('keeps no file whose digest is wrong', async () => {
    await expect(download('bad.bin', leave('bad.bin', data, 'a'.repeat(64)))).rejects.toThrow('damaged twice')
    expect(await readdir(folder)).toEqual([])
  })

  it('saves an empty file', async () => {
    expect(await download('empty', leave('empty', Buffer.alloc(0)))).toBe('saved')
    expect((await readFile(path.join(folder, 'empty'))).length).toBe(0)
  })

  it.each(['../out', 'a/../../out', '/etc/passwd', 'a//b', './a', '..', 'a\\..\\b', 'a\u0000b', ''])(
    'refuses the path %j',
    async (name) => {
      await expect(openTarget(folder, name)).rejects.toThrow('would leave the folder')
    },
  )

  it('refuses to write through a link', async () => {
    await symlink(os.tmpdir(), path.join(folder, 'link'))
    await expect(openTarget(folder, 'link/file')).rejects.toThrow('would leave the folder')
  })

  it('refuses them in the command, too, and writes nothing outside', async () => {
    leave('../escaped')
    const inner = path.join(folder, 'inner')
    const env = { SUBMARINE_ADDRESS: cluster.agents[0]?.origin ?? '', SUBMARINE_TOKEN: 'known-token' }
    const done = await runCli(['experiment', 'artifacts', 'exp-1', '--download', inner], { env, cwd: folder })
    expect(done.code).toBe(1)
    expect(done.stderr).toContain('would leave the folder')
    expect(await readdir(folder)).not.toContain('escaped')
  })
})
