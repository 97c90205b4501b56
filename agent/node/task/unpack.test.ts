import { createHash } from 'node:crypto'
import { lstat, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { Header } from 'tar'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EntryChecker, unpack } from './unpack.ts'

interface Crafted {
  path: string
  type?: 'File' | 'Directory' | 'SymbolicLink' | 'Link' | 'FIFO' | 'CharacterDevice' | 'BlockDevice'
  linkpath?: string
  content?: string
  mode?: number
}

/** A tar file with exactly these entries, however wrong they are. */
function archive(entries: readonly Crafted[]): Buffer {
  const blocks = entries.flatMap(({ path: name, type = 'File', linkpath, content = '', mode = 0o644 }) => {
    const header = new Header({
      path: name,
      type,
      linkpath,
      mode,
      size: content.length,
      uid: 4711,
      gid: 4711,
      mtime: new Date(0),
    })
    header.encode()
    return [
      header.block ?? Buffer.alloc(0),
      Buffer.from(content),
      Buffer.alloc((512 - (content.length % 512)) % 512),
    ]
  })
  return Buffer.concat([...blocks, Buffer.alloc(1024)])
}

let root: string
let code: string
beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'unpack-'))
  code = path.join(root, 'a', 'code')
})
afterEach(() => rm(root, { recursive: true }))

/** Everything below the root, to see that nothing came out elsewhere. */
const tree = async () => (await readdir(root, { recursive: true })).toSorted()
const limits = { files: 100, bytes: 10_000 }

describe('an archive', () => {
  const good = archive([
    { path: './', type: 'Directory', mode: 0o700 },
    { path: 'train.py', content: 'print(1)\n', mode: 0o600 },
    { path: 'data/deep/', type: 'Directory' },
    { path: 'data/deep/a.csv', content: 'a,b\n' },
    { path: 'run.sh', content: '#!/bin/sh\n', mode: 0o4755 },
    { path: 'data/deep/up', type: 'SymbolicLink', linkpath: '../../train.py' },
    { path: 'same.py', type: 'Link', linkpath: 'train.py' },
  ])

  test.each([
    ['plain', good],
    ['with gzip', gzipSync(good)],
  ])('%s is unpacked, and its digest is that of what was read', async (_, bytes) => {
    const digest = await unpack(Readable.from([bytes.subarray(0, 700), bytes.subarray(700)]), code, limits)
    expect(digest).toBe(createHash('sha256').update(bytes).digest('hex'))
    expect(await readFile(path.join(code, 'train.py'), 'utf8')).toBe('print(1)\n')
    expect(await readFile(path.join(code, 'same.py'), 'utf8')).toBe('print(1)\n')
    expect(await readlink(path.join(code, 'data/deep/up'))).toBe('../../train.py')
    expect(await readFile(path.join(code, 'data/deep/up'), 'utf8')).toBe('print(1)\n')
  })

  test('leaves files that any user of a container can read, and no set-user-id program', async () => {
    await unpack(Readable.from([good]), code, limits)
    const mode = async (name: string) => (await stat(path.join(code, name))).mode & 0o7777
    expect(await mode('.')).toBe(0o777)
    expect(await mode('train.py')).toBe(0o644)
    expect(await mode('run.sh')).toBe(0o755)
    expect((await stat(path.join(code, 'run.sh'))).uid).toBe(process.getuid?.())
  })

  test('replaces what an earlier try left', async () => {
    await unpack(Readable.from([archive([{ path: 'old' }])]), code, limits)
    await unpack(Readable.from([archive([{ path: 'new' }])]), code, limits)
    expect(await readdir(code)).toEqual(['new'])
  })

  const refused: [string, Crafted[], RegExp][] = [
    ['an absolute path', [{ path: '/tmp/evil' }], /outside/],
    ['a climbing path', [{ path: '../evil' }], /outside/],
    ['a path that climbs in its middle', [{ path: 'a/../../evil' }], /outside/],
    ['an absolute link', [{ path: 'l', type: 'SymbolicLink', linkpath: '/etc/passwd' }], /outside/],
    ['a climbing link', [{ path: 'a/l', type: 'SymbolicLink', linkpath: '../../evil' }], /outside/],
    ['an empty link', [{ path: 'l', type: 'SymbolicLink', linkpath: '' }], /linkpath required/],
    [
      'a link whose way leads through another and up again',
      [
        { path: 'x', type: 'SymbolicLink', linkpath: '.' },
        { path: 'd/e/y', type: 'SymbolicLink', linkpath: '../../x/..' },
      ],
      /outside/,
    ],
    [
      'a file behind a link',
      [
        { path: 'l', type: 'SymbolicLink', linkpath: 'd' },
        { path: 'l/file', content: 'x' },
      ],
      /behind a link/,
    ],
    [
      'a link behind a link',
      [
        { path: 'x', type: 'SymbolicLink', linkpath: '.' },
        { path: './x/./y', type: 'SymbolicLink', linkpath: '../z' },
      ],
      /behind a link/,
    ],
    [
      'a file in place of a link',
      [
        { path: 'l', type: 'SymbolicLink', linkpath: 'target' },
        { path: 'l', content: 'x' },
      ],
      /behind a link/,
    ],
    ['a hard link to outside', [{ path: 'l', type: 'Link', linkpath: '../../evil' }], /outside/],
    ['an absolute hard link', [{ path: 'l', type: 'Link', linkpath: '/etc/passwd' }], /outside/],
    [
      'a second name for a link',
      [
        { path: 'd/e/l', type: 'SymbolicLink', linkpath: '../../f' },
        { path: 'm', type: 'Link', linkpath: 'd/e/l' },
      ],
      /outside/,
    ],
    ['a pipe', [{ path: 'p', type: 'FIFO' }], /neither/],
    ['a character device', [{ path: 'p', type: 'CharacterDevice' }], /neither/],
    ['a block device', [{ path: 'p', type: 'BlockDevice' }], /neither/],
    ['too many files', Array.from({ length: 101 }, (_, i) => ({ path: `f${i}` })), /more than 100 files/],
    [
      'too many bytes',
      [
        { path: 'a', content: 'x'.repeat(6000) },
        { path: 'b', content: 'x'.repeat(6000) },
      ],
      /more than 10000 bytes/,
    ],
  ]
  test.each(refused)('with %s is refused whole', async (_, entries, message) => {
    const before = [{ path: 'harmless', content: 'x' }, ...entries]
    await expect(unpack(Readable.from([archive(before)]), code, limits)).rejects.toThrow(message)
    expect(await tree()).toEqual(['a'])
    await expect(unpack(Readable.from([gzipSync(archive(before))]), code, limits)).rejects.toThrow(message)
    expect(await tree()).toEqual(['a'])
  })

  test.each([
    ['that is none', Buffer.from('not a tar file'.repeat(100))],
    ['that is cut off', good.subarray(0, 1500)],
    ['with gzip that is cut off', gzipSync(good).subarray(0, 100)],
    ['with broken gzip', Buffer.concat([gzipSync(good).subarray(0, 40), Buffer.alloc(50, 7)])],
  ])('%s is refused and leaves nothing', async (_, bytes) => {
    await expect(unpack(Readable.from([bytes]), code, limits)).rejects.toThrow()
    expect(await tree()).toEqual(['a'])
  })

  test('that breaks off on its way leaves nothing', async () => {
    async function* broken() {
      yield good.subarray(0, 1500)
      throw new Error('connection lost')
    }
    await expect(unpack(Readable.from(broken()), code, limits)).rejects.toThrow('connection lost')
    expect(await tree()).toEqual(['a'])
  })
})

test('whatever links an accepted archive has, none of its paths leads outside', async () => {
  const part = fc.constantFrom('a', 'b', 'c', '..', '.')
  const route = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'))
  const entry = fc.record({
    path: route,
    type: fc.constantFrom('File' as const, 'Directory' as const, 'SymbolicLink' as const),
    linkpath: route,
  })
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 8 }), async (entries) => {
      const bytes = archive(
        entries.map((e) => (e.type === 'SymbolicLink' ? e : { path: e.path, type: e.type })),
      )
      if (!(await unpack(Readable.from([bytes]), code, limits).catch(() => undefined))) return
      // Write through every name: a file that came out elsewhere would be seen.
      for (const name of await readdir(code, { recursive: true }))
        if ((await lstat(path.join(code, name))).isSymbolicLink())
          await writeFile(path.join(code, name, 'probe'), 'x').catch(() =>
            writeFile(path.join(code, name), 'x').catch(() => undefined),
          )
      const outside = (await tree()).filter(
        (name) => name !== 'a' && name !== 'a/code' && !name.startsWith('a/code/'),
      )
      expect(outside).toEqual([])
    }),
    { numRuns: 150 },
  )
})

test('a checker counts from the first entry on', () => {
  const checker = new EntryChecker({ files: 2, bytes: 10 })
  expect(checker.check({ path: 'a', type: 'File', size: 5 })).toBeUndefined()
  expect(checker.check({ path: 'b', type: 'File', size: 6 })).toMatch('more than 10 bytes')
  expect(checker.check({ path: 'c', type: 'File', size: 0 })).toMatch('more than 2 files')
})
