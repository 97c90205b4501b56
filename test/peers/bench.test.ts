import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Row } from '../../bench/report.ts'
import { needs } from '../setup/needs.ts'

// That the bench runs and says what it should. How fast anything is depends on the machine, so no figure is judged.
const exec = promisify(execFile)
let dir: string
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'bench-test-'))
})
afterAll(() => rm(dir, { recursive: true, force: true, maxRetries: 10 }))

async function bench(...args: string[]): Promise<{ stdout: string; json: unknown }> {
  const json = path.join(dir, `${args[0]}.json`)
  const line = ['bench/main.ts', ...args, '--json', json]
  const { stdout } = await exec(process.execPath, line).catch((e: { stdout?: string; code?: number }) => {
    // 1 is the verdict on a machine that is too slow.
    if (e.code !== 1 || !e.stdout?.includes('not ok:')) throw e
    return { stdout: e.stdout }
  })
  return { stdout, json: JSON.parse(await readFile(json, 'utf8')) }
}

test(
  'beside etcd: a row for each goal, as a table and as JSON',
  { ...needs.etcd, timeout: 600_000 },
  async () => {
    const { stdout, json } = await bench('raft', '--vs', 'etcd', '--quick')
    const rows = json as Row[]
    const paired = [
      'write 1 outstanding',
      'write 1 outstanding, p50',
      'write 100 outstanding',
      'write 1000 outstanding',
      'linearizable read 1 outstanding',
      'linearizable read 1000 outstanding',
      'leader killed: next write',
      'leader cut off: next write',
    ]
    const alone = [
      '100,000-key snapshot + install',
      'event-loop pause during it, p99',
      'write through the whole agent, 1 outstanding',
      'write through the whole agent, 100 outstanding',
    ]
    for (const name of [...paired, ...alone]) {
      const row = rows.find((r) => r.name === name)
      expect(row, name).toMatchObject({ unit: expect.any(String), n: 1 })
      expect(row?.ours, name).toBeGreaterThan(0)
      expect(stdout).toContain(name)
    }
    for (const row of rows.filter(({ name }) => paired.includes(name))) {
      const better = row.unit === 'ms' ? Number(row.peer) / row.ours : row.ours / Number(row.peer)
      expect(row.ratio, row.name).toBeCloseTo(better, 1)
    }
    for (const row of rows.filter(({ name }) => alone.includes(name)))
      expect([row.peer, row.ratio]).toEqual([null, null])
  },
)

test(
  'the soak: a line for each sample, a verdict, and no more log than is kept',
  { timeout: 300_000 },
  async () => {
    const { stdout, json } = await bench(
      'soak',
      '--minutes',
      '0.2',
      '--sample-seconds',
      '4',
      '--rate',
      '1000',
    )
    expect(stdout.match(/^minute /gm)).toHaveLength(3)
    expect(json).toMatchObject({
      verdict: { ok: expect.any(Boolean), elections: expect.any(Number), why: expect.any(Array) },
      samples: [{ members: [{}, {}, {}] }, {}, {}],
    })
  },
)

test(
  'the planner alone, and placements by whole agents: a row for each goal',
  { timeout: 300_000 },
  async () => {
    const { json } = await bench(
      'schedule',
      '--nodes',
      '400',
      '--pending',
      '1000',
      '--agents',
      '3',
      '--quick',
    )
    expect((json as Row[]).map(({ name, ours }) => [name, ours > 0])).toEqual(
      [
        'planner full pass',
        'planner incremental decision p99',
        'planner incremental decision',
        'longest slice',
        'placements committed',
        'memory of each of the agents',
      ].map((name) => [name, true]),
    )
  },
)
