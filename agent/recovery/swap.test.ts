import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openFolder } from '../cluster/identity/data-folder.ts'
import { beginSwap, commitSwap, resumeSwap } from './swap.ts'

let data: string
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'swap-'))
  for (const name of ['log', 'state', 'tls', 'blobs']) {
    await mkdir(join(data, name))
    await writeFile(join(data, name, 'what'), 'old')
  }
  for (const name of ['identity.json', 'peers.json']) await writeFile(join(data, name), 'old')
})
afterEach(() => rm(data, { recursive: true }))

async function make(): Promise<string> {
  const made = await beginSwap(data)
  for (const name of ['log', 'tls']) await writeFile(join(made, name, 'what'), 'new')
  for (const name of ['identity.json', 'cluster.key']) await writeFile(join(made, name), 'new')
  return made
}
const read = (...path: string[]) => readFile(join(data, ...path), 'utf8')

async function expectSwapped(): Promise<void> {
  expect(await Promise.all([read('log', 'what'), read('tls', 'what'), read('identity.json'), read('cluster.key')])).toEqual(
    ['new', 'new', 'new', 'new'],
  ) // prettier-ignore
  expect(await read('blobs', 'what')).toBe('old')
  for (const path of [['log', 'what'], ['state', 'what'], ['tls', 'what'], ['identity.json'], ['peers.json']])
    expect(await read('aside', ...path)).toBe('old')
  const left = (await readdir(data)).filter((name) => !name.startsWith('agent.lock'))
  expect(left.toSorted()).toEqual(['aside', 'blobs', 'cluster.key', 'identity.json', 'log', 'tls'])
}

it('puts what was made in the place of the old, which is kept', async () => {
  await make()
  expect(await commitSwap(data, 'aside')).toBe(join(data, 'aside'))
  await expectSwapped()
})

it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])(
  'is finished by the next run when it was cut off after %i steps',
  async (steps) => {
    const made = await make()
    await writeFile(join(made, 'ready'), 'aside')
    await mkdir(join(data, 'aside'))
    const moves: [string, string][] = [
      [join(data, 'log'), join(data, 'aside', 'log')],
      [join(made, 'log'), join(data, 'log')],
      [join(data, 'state'), join(data, 'aside', 'state')],
      [join(data, 'peers.json'), join(data, 'aside', 'peers.json')],
      [join(data, 'tls'), join(data, 'aside', 'tls')],
      [join(made, 'tls'), join(data, 'tls')],
      [join(made, 'cluster.key'), join(data, 'cluster.key')],
      [join(data, 'identity.json'), join(data, 'aside', 'identity.json')],
      [join(made, 'identity.json'), join(data, 'identity.json')],
    ]
    for (const [from, to] of moves.slice(0, steps)) await rename(from, to)
    // Until then the agent does not start, and nobody is told to delete anything.
    await expect(openFolder(data)).rejects.toMatchObject({ hint: expect.stringContaining('cluster recover') })
    expect(await resumeSwap(data, (ready) => readFile(ready, 'utf8'))).toBe(join(data, 'aside'))
    await expectSwapped()
  },
)

it('is thrown away when it was cut off before it counted', async () => {
  await make()
  expect(await resumeSwap(data, (ready) => readFile(ready, 'utf8'))).toBeUndefined()
  expect([await read('log', 'what'), await read('identity.json')]).toEqual(['old', 'old'])
  expect(await readdir(data)).not.toContain('recovery')
})
