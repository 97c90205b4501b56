import fc from 'fast-check'
import { posix, win32 } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ArtifactPath, line, Name } from './text.ts'

describe('artifact paths', () => {
  it.each(['model.json', 'a/b/c.txt', '.hidden', 'a/..b', '…/ünïcode', 'a b/c d', '-rf'])(
    '%j is one',
    (path) => expect(ArtifactPath.safeParse(path).success).toBe(true),
  )
  it.each([
    '', '.', '..', '/', '/etc/passwd', '../x', 'a/../b', 'a/./b', 'a//b', 'a/', 'a\\b', '..\\x', 'C:\\x',
    'a\u0000b', 'a\nb', 'a\u007f', 'x'.repeat(1025),
  ])('%j is none', (path) => expect(ArtifactPath.safeParse(path).success).toBe(false)) // prettier-ignore

  it('never leave the folder they are put below, on any system', () => {
    const part = fc.constantFrom('..', '.', '', 'a', 'b.txt', '\\', 'C:', '/', ' ', '...', 'é')
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const path = parts.join('/')
        fc.pre(ArtifactPath.safeParse(path).success)
        expect(posix.resolve('/out', path).startsWith('/out/')).toBe(true)
        expect(win32.join('C:\\out', path).startsWith('C:\\out\\')).toBe(true)
      }),
    )
  })
})

describe('names', () => {
  it('are safe in URLs, shells and file names', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 70 }), (text) => {
        fc.pre(Name.safeParse(text).success)
        expect(encodeURIComponent(text)).toBe(text)
        expect(text).not.toMatch(/^[.-]|[.-]$|[\s$`"'\\/]/)
      }),
    )
    expect(Name.safeParse('a').success && Name.safeParse('exp-1_b.c').success).toBe(true)
  })
})

describe('lines', () => {
  it.each(['\u0000', '\u001b', '\n', '\u007f', '\u0085', '\u009b', '\u2028', '\u2029', '\u202e', '\u2066', '\u200f'])(
    'hold no %j, with which a name would show as another',
    (mark) => expect(line(20).safeParse(`a${mark}b`).success).toBe(false),
  ) // prettier-ignore
  it.each(['Zoë', '名前', 'שלום', 'مرحبا', 'a\u00a0b', '👩‍🔬'])('may be %j', (text) =>
    expect(line(20).safeParse(text).success).toBe(true),
  )
})
