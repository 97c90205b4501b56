import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { findNode, findScript, isNewEnough } from './node24.js'

const starter = path.join(import.meta.dirname, 'node24.js')
const folder = mkdtempSync(path.join(os.tmpdir(), 'node24-'))
afterAll(() => rmSync(folder, { recursive: true }))

function script(source: string) {
  const file = path.join(folder, 'script.ts')
  writeFileSync(file, source)
  return file
}

test('versions from 24.21 on are new enough', () => {
  expect(['24.21.0', '24.22.1', '25.0.0', '26.1.0-nightly'].map(isNewEnough)).toEqual([
    true,
    true,
    true,
    true,
  ])
  expect(['24.20.9', '22.30.0', '18.20.8'].map(isNewEnough)).toEqual([false, false, false])
})

test('the Node found is one that is new enough', () => {
  const { stdout } = spawnSync(findNode(), ['-p', 'process.versions.node'], { encoding: 'utf8' })
  expect(isNewEnough(stdout.trim())).toBe(true)
})

test('a tool is found by its package, also where the names differ', () => {
  expect(findScript('tsc')).toMatch(/typescript\/bin\/tsc$/)
  expect(findScript('vitest')).toMatch(/vitest\/vitest\.mjs$/)
  expect(() => findScript('no-such-tool')).toThrow(/no-such-tool is not installed. Run "npm ci"/)
})

describe('run as a script', () => {
  test('it runs TypeScript with its arguments and hands on output and exit code', () => {
    const file = script(
      'const args: string[] = process.argv.slice(2); console.log(args.join("|")); process.exit(7)',
    )
    const { status, stdout } = spawnSync('node', [starter, file, 'a b', '--flag'], { encoding: 'utf8' })
    expect([status, stdout]).toEqual([7, 'a b|--flag\n'])
  })

  test('a signal reaches the program, and the way it dies is ours', async () => {
    const file = script(
      'process.on("SIGTERM", () => process.kill(process.pid, "SIGKILL")); setInterval(() => {}, 1e6); console.log("up")',
    )
    const child = spawn('node', [starter, file], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    child.kill('SIGTERM')
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
    expect([code, signal]).toEqual([null, 'SIGKILL'])
  })

  test('an unknown tool is an error of one line', () => {
    const { status, stderr } = spawnSync('node', [starter, 'no-such-tool'], { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr.trim().split('\n')).toHaveLength(1)
  })
})
