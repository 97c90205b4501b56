import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { list } from 'tar'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listFolder, packFolder } from './folder.ts'
import { readIgnores } from './ignore.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'submarine-pack-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

async function files(...names: string[]) {
  for (const name of names) {
    await mkdir(path.join(root, path.dirname(name)), { recursive: true })
    await writeFile(path.join(root, name), name)
  }
}

describe('ignore rules', () => {
  it.each([
    ['*.pt', 'a/b/model.pt', true],
    ['*.pt', 'model.pt.txt', false],
    ['/data', 'data', true],
    ['/data', 'src/data', false],
    ['out/*.log', 'out/a.log', true],
    ['out/*.log', 'out/x/a.log', false],
    ['out/**/a.log', 'out/a.log', true],
    ['out/**', 'out/x/y', true],
    ['**/cache', 'a/b/cache', true],
    ['run?.txt', 'run1.txt', true],
    ['run[0-3].txt', 'run4.txt', false],
    ['run[!0-3].txt', 'run4.txt', true],
    ['# comment', '# comment', false],
    ['\\#file', '#file', true],
    ['a.b', 'axb', false],
    ['(x)', '(x)', true],
    ['*\n!keep.me', 'keep.me', false],
  ])('%j on %j: %s', (rules, name, ignored) => {
    expect(readIgnores(rules)(name, false)).toBe(ignored)
  })

  it('means folders alone by a slash at the end', () => {
    const ignores = readIgnores('build/')
    expect([ignores('build', true), ignores('build', false)]).toEqual([true, false])
  })
})

describe('packing a folder', () => {
  it('leaves out what is ignored, what is never wanted, and links out of it', async () => {
    await files('train.py', '@odd', 'data/big.bin', 'lib/a.py', '.git/HEAD', 'lib/__pycache__/a.pyc')
    await files('node_modules/x/index.js')
    await writeFile(path.join(root, '.submarineignore'), 'data/\n')
    await symlink('/etc/passwd', path.join(root, 'absolute'))
    await symlink('../../outside', path.join(root, 'lib/outside'))
    await symlink('../train.py', path.join(root, 'lib/inside'))
    const listing = await listFolder(root)
    expect(listing.skipped.map((s) => s.split(' ')[0])).toEqual(['absolute', 'lib/outside'])
    const packed = await packFolder(root, listing)
    const names: string[] = []
    await list({ file: packed.file, onReadEntry: (entry) => void names.push(entry.path) })
    await packed.remove()
    expect(names).toEqual(
      ['.submarineignore', '@odd', 'lib/', 'lib/a.py', 'lib/inside', 'train.py'].map((n) => `./${n}`),
    )
  })

  it('gives the same bytes for the same folder', async () => {
    await files('a', 'b/c')
    const digests = []
    for (let i = 0; i < 2; i++) {
      const packed = await packFolder(root, await listFolder(root))
      digests.push(packed.sha256)
      await packed.remove()
    }
    expect(digests[0]).toBe(digests[1])
  })

  it('refuses more than 1 GiB with a way out', async () => {
    await files('huge')
    await truncate(path.join(root, 'huge'), 1024 ** 3 + 1)
    await expect(listFolder(root)).rejects.toMatchObject({
      hint: expect.stringContaining('.submarineignore') as string,
    })
  })
})
