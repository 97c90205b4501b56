import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'
import { findScript } from '../../cli/node24.js'

const config = path.join(import.meta.dirname, '../setup/fixture/vitest.config.ts')

/** Runs tests of the fixture as CI does or as a person does. */
function run({ ci }: { ci: boolean }, ...files: string[]) {
  const args = [findScript('vitest'), 'run', '--config', config, ...files]
  const env = { ...process.env, CI: String(ci), NO_COLOR: '1', FORCE_COLOR: undefined }
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', env })
  return { status, lines: stdout.trim().split('\n') }
}

test('a skipped test is named with its reason and the way to have it run, and the counts come last', () => {
  const { status, lines } = run({ ci: true }, 'allowed')
  expect(lines.slice(-4)).toEqual([
    'Skipped for want of a ship (to have it: run where it can be reached):',
    '  allowed.test.ts > on a ship > sails',
    '',
    '2 passed, 0 failed, 1 skipped',
  ])
  expect(status).toBe(0)
})

test('in CI alone, a skip without a good reason fails the run', () => {
  const inCi = run({ ci: true }, 'forbidden')
  expect(inCi.status).toBe(1)
  expect(inCi.lines.slice(-5)).toEqual([
    'In CI these may not be skipped:',
    '  forbidden.test.ts > is skipped for no reason',
    '  forbidden.test.ts > says why it cannot run',
    '',
    '0 passed, 0 failed, 2 skipped',
  ])
  const atHome = run({ ci: false }, 'forbidden')
  expect(atHome.status).toBe(0)
  expect(atHome.lines.join('\n')).toContain('Skipped for want of the moon')
  expect(atHome.lines.at(-1)).toBe('0 passed, 0 failed, 2 skipped')
})

test('failures are counted, also of files that cannot be loaded', () => {
  const { status, lines } = run({ ci: false }, 'broken', 'unloadable', 'allowed')
  expect(lines.at(-1)).toBe('2 passed, 2 failed, 1 skipped')
  expect(status).toBe(1)
})
