// What is known of the packages that are shipped, where the registry tells.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { outside } from '../setup/needs.ts'

const Report = z.object({
  vulnerabilities: z.record(
    z.string(),
    z.object({ severity: z.string(), range: z.string(), fixAvailable: z.unknown() }),
  ),
})

const cwd = fileURLToPath(new URL('../..', import.meta.url))

/** Undefined where the registry has no answer. */
function audit(): z.infer<typeof Report> | undefined {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd,
    encoding: 'utf8',
    timeout: 30_000,
  })
  try {
    return Report.safeParse(JSON.parse(stdout)).data
  } catch {
    return undefined
  }
}

const report = audit()

describe('shipped packages', outside(report !== undefined, 'the audit of the npm registry'), () => {
  test('none has a known weakness of high or critical severity', () => {
    const grave = Object.entries(report?.vulnerabilities ?? {}).filter(([, { severity }]) =>
      ['high', 'critical'].includes(severity),
    )
    expect(grave).toEqual([])
  })
})
