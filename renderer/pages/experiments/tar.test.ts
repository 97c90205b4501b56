import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { list, type ReadEntry } from 'tar'
import { describe, expect, test } from 'vitest'
import { folderOf } from './folder.ts'
import { packTar } from './tar.ts'

/** Unpacks with the `tar` package: path, content, type and time of every entry. */
async function unpack(archive: Blob) {
  const reading: Promise<{ path: string; content: string; type: string; mtime: number | undefined }>[] = []
  const parser = list({
    strict: true,
    onReadEntry: (entry: ReadEntry) => {
      const { path, type, mtime } = entry
      reading.push(
        text(entry as unknown as Readable).then((content) => ({
          path,
          type,
          content,
          mtime: mtime?.getTime(),
        })),
      )
    },
  })
  const done = new Promise((resolve, reject) => parser.on('end', resolve).on('error', reject))
  parser.end(Buffer.from(await archive.arrayBuffer()))
  await done
  return Promise.all(reading)
}

describe('packing a code folder', () => {
  test('the tar package reads back what was packed', async () => {
    const modified = Date.parse('2026-01-31T12:00:00Z')
    const entries = [
      { path: 'train.py', file: new Blob(['print("hi")\n']), modified },
      { path: 'empty', file: new Blob([]), modified },
      { path: 'data/block', file: new Blob(['x'.repeat(512)]), modified },
      { path: 'data/more', file: new Blob(['y'.repeat(513)]), modified },
    ]
    const archive = packTar(entries)
    expect(archive.size % 512).toBe(0)
    const found = await unpack(archive)
    expect(found).toEqual(
      await Promise.all(
        entries.map(async ({ path, file }) => ({
          path,
          type: 'File',
          content: await file.text(),
          mtime: modified,
        })),
      ),
    )
  })

  test('paths of every length and alphabet survive', async () => {
    const paths = [
      'a'.repeat(100),
      `${'d'.repeat(60)}/${'f'.repeat(90)}`,
      `${'d'.repeat(155)}/${'f'.repeat(100)}`,
      `${'d'.repeat(156)}/${'f'.repeat(100)}`,
      'f'.repeat(255),
      `${'deep/'.repeat(60)}file`,
      'Zahlen/größe-模型.py',
      ...Array.from({ length: 20 }, (_, at) => `${'n'.repeat(85 + at)}/ünïcode`),
    ]
    const found = await unpack(packTar(paths.map((path) => ({ path, file: new Blob([path.slice(0, 5)]) }))))
    expect(found.map(({ path }) => path)).toEqual(paths)
    expect(found.every(({ path, content }) => content === path.slice(0, 5))).toBe(true)
  })
})

describe('a picked folder', () => {
  const file = (webkitRelativePath: string, size = 3) =>
    Object.assign(new Blob(['x'.repeat(size)]), {
      name: webkitRelativePath.split('/').at(-1) ?? '',
      lastModified: 0,
      webkitRelativePath,
    })

  test('loses its own name and what never belongs to code', () => {
    const folder = folderOf([
      file('proj/b/util.py'),
      file('proj/a.py', 10),
      file('proj/.git/HEAD'),
      file('proj/web/node_modules/x/index.js'),
    ])
    expect(folder).toMatchObject({ name: 'proj', bytes: 13, skipped: 2 })
    expect(folder?.entries.map(({ path }) => path)).toEqual(['a.py', 'b/util.py'])
  })

  test('no files are no folder', () => {
    expect(folderOf([])).toBeUndefined()
  })
})
