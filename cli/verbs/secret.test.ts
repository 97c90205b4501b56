import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { serve, type Served } from '../../agent/http/testing/served.ts'
import { runCli } from '../testing/run-cli.ts'

let served: Served
let folder: string
beforeAll(async () => {
  served = await serve()
  folder = await mkdtemp(path.join(os.tmpdir(), 'secret-cli-'))
})
afterAll(async () => {
  await served.close()
  await rm(folder, { recursive: true })
})

const secret = (args: string[], input = '') =>
  runCli(['secret', ...args], {
    env: { SUBMARINE_ADDRESS: served.origin, SUBMARINE_TOKEN: served.world.signIn(), SUBMARINE_CONFIG: path.join(folder, 'config.json') },
    cwd: folder,
    input,
  }) // prettier-ignore

it('set takes a line or a file, says what it has done, and never what it was given', async () => {
  const line = await secret(['set', 's3', '--value-stdin', '--kind', 's3'], 'hunter2\n')
  expect(line, line.stderr).toMatchObject({ code: 0 })
  expect(line.stdout).toMatch(/^SECRET .*\nadmin\/s3 +s3 +- +1 /)
  const bytes = Buffer.from([0, 255, 104, 117, 110, 116, 101, 114, 50])
  await writeFile(path.join(folder, 'key.tab'), bytes)
  const file = await secret(['set', 's3', '--from-file', 'key.tab'])
  expect(file.stdout).toMatch(/admin\/s3 +s3 +- +2 /)
  const row = served.world.log.state.secrets.get('admin/s3')
  expect(row).toMatchObject({ version: 2, bytes: bytes.length, owner: 'admin' })
  const all = await secret(['list', '--output', 'json'])
  expect(all.stdout).toContain('"id": "admin/s3"')
  for (const { stdout, stderr } of [line, file, all]) {
    expect(stdout + stderr).not.toContain('hunter2')
    expect(stdout + stderr).not.toContain(row?.sealed)
  }
})

it('a principal makes it a keytab; realms are named, said anew and forgotten', async () => {
  const env = { SUBMARINE_ADDRESS: served.origin, SUBMARINE_TOKEN: served.world.signIn(), SUBMARINE_CONFIG: path.join(folder, 'config.json') } // prettier-ignore
  const kerberos = (...args: string[]) => runCli(['kerberos', ...args], { env, cwd: folder })
  await writeFile(path.join(folder, 'ana.keytab'), Buffer.from([5, 2, 0, 0]))
  const made = await secret(['set', 'hdfs', '--principal', 'ana@LAB.EXAMPLE', '--from-file', 'ana.keytab'])
  expect(made.stdout, made.stderr).toMatch(/admin\/hdfs +keytab of ana@LAB\.EXAMPLE /)
  await kerberos('set', 'LAB.EXAMPLE', '--kdc', 'kdc1', 'kdc2:88', '--domain', '.lab.example')
  await kerberos('set', 'OTHER.TEST', '--kdc', '10.0.0.5')
  const again = await kerberos('set', 'LAB.EXAMPLE', '--kdc', 'kdc3')
  expect(again.stdout, again.stderr).toMatch(/OTHER\.TEST +10\.0\.0\.5 +-\nLAB\.EXAMPLE +kdc3 +-\n/)
  expect((await kerberos('delete', 'OTHER.TEST')).stdout).not.toContain('OTHER.TEST')
  expect(await kerberos('delete', 'OTHER.TEST')).toMatchObject({ code: 2 })
  const wrong = await kerberos('set', 'lab', '--kdc', 'kdc')
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('in capitals')])
})

it('without a value, or with a file that is not there, it says what would be right', async () => {
  const none = await secret(['set', 'git'])
  expect(none.code).toBe(2)
  expect(none.stderr).toContain('Give it with --from-file or --value-stdin.')
  const missing = await secret(['set', 'git', '--from-file', 'not-there'])
  expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('the secret cannot be read')])
})

it('delete takes it away, once', async () => {
  await secret(['set', 'old', '--value-stdin'], 'x\n')
  expect((await secret(['delete', 'old'])).stdout).toBe('old deleted\n')
  expect(served.world.log.state.secrets.has('admin/old')).toBe(false)
  const again = await secret(['delete', 'old'])
  expect(again.code).not.toBe(0)
  expect(again.stderr).toContain('there is no secret old')
})
