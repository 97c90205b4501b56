import type * as Files from 'node:fs/promises'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { lockFolder } from './lock.ts'

/** Runs once, at the moment when a process has looked at the last lock and not yet made its own. */
let meanwhile: (() => Promise<void>) | undefined
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof Files>()
  const readFile = async (path: string) => {
    const text = real.readFile(path, 'utf8')
    await text.catch(() => undefined)
    const act = meanwhile
    meanwhile = undefined
    await act?.()
    return text
  }
  return { ...real, readFile }
})

test('a process that was slow does not take a number that others have used and removed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'submarine-lock-'))
  const path = join(folder, 'agent.lock')
  let release: (() => Promise<void>) | undefined
  meanwhile = async () => {
    await (
      await lockFolder(path)
    )()
    release = await lockFolder(path)
    expect(await readdir(folder)).toContain('agent.lock.2')
    expect(await readdir(folder)).not.toContain('agent.lock.1')
  }
  await expect(lockFolder(path)).rejects.toThrow(/in use by another agent/)
  expect(await readdir(folder)).toEqual(['agent.lock.2'])
  await release?.()
  await (
    await lockFolder(path)
  )()
  await rm(folder, { recursive: true })
})
