import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { replay } from './testing/scenario.ts'

/** `RAFT_REWRITE=1` writes what really happens into the files, to be read before it is committed. */
const rewrite = process.env['RAFT_REWRITE'] === '1'
const dir = path.join(import.meta.dirname, 'scenarios')
const files = readdirSync(dir).filter((f) => f.endsWith('.txt'))

test.each(files)('%s', (name) => {
  const file = path.join(dir, name)
  const script = readFileSync(file, 'utf8')
  const real = replay(script)
  if (rewrite) writeFileSync(file, real)
  else expect(real).toBe(script)
  // A misspelt command must not become an expectation.
  expect(real).not.toMatch(/^ {2}Error: /m)
})

test('there are scenarios', () => expect(files.length).toBeGreaterThanOrEqual(25))
