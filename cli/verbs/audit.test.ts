import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { auditOrigin, type AuditRecord, auditText } from '../../contract/audit.ts'
import { runCli } from '../testing/run-cli.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'audit-cli-'))
})
afterAll(() => rm(folder, { recursive: true }))

function chain(length: number): AuditRecord[] {
  const records: AuditRecord[] = []
  for (let seq = 1; seq <= length; seq++) {
    const record = {
      seq, at: '2026-01-01T00:00:00.000Z', index: seq, actor: 'user:ana', token: null, address: null, request: null,
      action: 'queue.put', object: { kind: 'queue', id: 'night' }, decision: 'allowed' as const, code: null, message: null,
      before: null, after: null, count: 1, previous: records.at(-1)?.sha256 ?? auditOrigin,
    } // prettier-ignore
    records.push({ ...record, sha256: createHash('sha256').update(auditText(record)).digest('hex') })
  }
  return records
}

async function verify(name: string, records: readonly object[]) {
  const file = path.join(folder, name)
  await writeFile(file, records.map((record) => JSON.stringify(record) + '\n').join(''))
  return runCli(['audit', 'verify', file])
}

it('an export that is whole is told to be', async () => {
  const { code, stdout } = await verify('whole.jsonl', chain(3))
  expect(stdout).toContain('3 records, 1 to 3: the chain is whole')
  expect(code).toBe(0)
})

it('an export in which one record was altered is found out, and the record named', async () => {
  const records = chain(3)
  const { code, stderr } = await verify(
    'altered.jsonl',
    records.with(1, { ...(records[1] as AuditRecord), actor: 'user:eve' }),
  )
  expect(stderr).toContain('record 2 was altered')
  expect(code).toBe(5)
})
