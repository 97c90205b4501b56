import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Edit } from './load.ts'
import type { Report } from './search.ts'

interface Result {
  readonly states: number
  readonly reports: Record<string, Report>
}

/** The search opens the core's private fields while it loads, so it has a process of its own. */
function search(...args: string[]): Result {
  const main = path.join(import.meta.dirname, 'main.ts')
  const run = spawnSync(process.execPath, ['--max-old-space-size=2000', main, '--json', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 24,
  })
  if (run.error) throw run.error
  if (!run.stdout.startsWith('{')) throw new Error(`the search ended with ${run.status}: ${run.stderr}`)
  return JSON.parse(run.stdout) as Result
}

test('no reachable state of three members breaks an invariant', { timeout: 600_000 }, () => {
  const { states, reports } = search('--states', '2000000')
  for (const [name, r] of Object.entries(reports)) {
    expect(r.violation, name).toBeUndefined()
    console.log(`model check, ${name}: ${r.states} distinct states, depth ${r.depth}`)
  }
  console.log(`model check: ${states} distinct states`)
  expect(states).toBeGreaterThanOrEqual(1_000_000)
  // A search that goes nowhere proves nothing.
  const all = Object.values(reports)
  expect(new Set(all.flatMap((r) => r.terms))).toEqual(new Set([2, 3]))
  expect(Math.max(...all.map((r) => r.committed))).toBeGreaterThanOrEqual(3)
  expect(all.every((r) => r.memberStates > 100)).toBe(true)
})

describe('a planted bug is found', () => {
  const bugs: [string, string, Edit, RegExp][] = [
    [
      'the election restriction is not checked',
      'succession',
      {
        file: 'log.ts',
        from: 'return lastTerm > this.lastTerm ||',
        to: 'return lastTerm > 0 ||',
      },
      /leader completeness/,
    ],
    [
      'an append is acknowledged before it is durable',
      'replication',
      { file: 'core.ts', from: "      case 'appendReply':\n", to: '' },
      /committed is lost|addressed to itself/,
    ],
    [
      'a vote leaves before it is durable',
      'elections',
      {
        file: 'core.ts',
        from: "      case 'voteReply':\n",
        to: "      case 'voteReply':\n        (full.to === this.id ? this.afterSync : this.messages).push(full)\n        break\n",
      },
      /election safety/,
    ],
    [
      'a leader counts its own entries before they are durable',
      'replication',
      {
        file: 'leader.ts',
        from: "r.send({ type: 'appendReply', to: r.id, index, rejected: false, hintIndex: 0, hintTerm: 0 })",
        to: 'progressOf(r, r.id).acked(index)',
      },
      /committed is lost/,
    ],
    [
      'a heartbeat carries the commit index to members that may not have the entries',
      'succession',
      {
        file: 'replication.ts',
        from: 'const commit = Math.min(pr.match, r.log.committed)',
        to: 'const commit = r.log.committed',
      },
      /truncated or lost/,
    ],
    [
      'a leader answers reads without asking anybody',
      'succession',
      {
        file: 'read-index.ts',
        from: 'broadcastHeartbeat(r)\n  confirmReads(r) //',
        to: 'reads.unconfirmed.splice(0).forEach((q) => answerRead(r, q)) //',
      },
      /stale read/,
    ],
  ]

  test.each(bugs)('%s', { timeout: 300_000 }, (_, profile, edit, violation) => {
    const { reports } = search('--profile', profile, '--edits', JSON.stringify([edit]), '--states', '1500000')
    const found = reports[profile]?.violation
    expect(found?.what).toMatch(violation)
    expect(found?.path.length).toBeGreaterThan(0)
  })

  test('and an edit that fits nowhere is an error', () => {
    const edit = { file: 'log.ts', from: 'no such line', to: '' }
    expect(() => search('--edits', JSON.stringify([edit]))).toThrow(/should be one/)
  })
})
