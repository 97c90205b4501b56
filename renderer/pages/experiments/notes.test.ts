import { expect, test } from 'vitest'
import { patchOf, tagLines, tagsFrom } from './notes.ts'

test('tags are lines of KEY=VALUE, both ways', () => {
  const tags = { lr: '1e-3', 'best run': 'yes = this', empty: '' }
  expect(tagsFrom(tagLines(tags))).toEqual({ tags })
  expect(tagsFrom(' a = b \n\n')).toEqual({ tags: { a: 'b' } })
})

test.each([['plain'], ['=1'], ['a=1\na=2']])('%j is refused', (text) =>
  expect(tagsFrom(text)).toHaveProperty('error'),
)

test('only what was changed is sent', () => {
  const before = { description: 'old', tags: { a: '1', b: '2', c: '3' } }
  expect(patchOf(before, { description: 'old', tags: { a: '1', b: '9', d: '4' } })).toEqual({
    tags: { b: '9', d: '4', c: null },
  })
  expect(patchOf(before, { description: '', tags: before.tags })).toEqual({ description: '' })
  expect(patchOf(before, before)).toEqual({})
})
