import { describe, expect, test } from 'vitest'
import { href, match, paths, searchOf } from './routes.ts'

describe('addresses', () => {
  test('every path without parameters leads to its own page', () => {
    for (const [page, path] of Object.entries(paths))
      if (!path.includes('{')) expect(match(path)).toEqual({ page, params: {} })
  })

  test('"new" is the form, not an experiment of that name', () => {
    expect(match('/experiments/new')?.page).toBe('newExperiment')
    expect(match('/experiments/exp-1')).toEqual({ page: 'experiment', params: { id: 'exp-1' } })
  })

  test('what a link says is what the page gets, whatever the name holds', () => {
    for (const name of ['gpu-01', 'a b', 'ä/ö', '100%', '?x=#'])
      expect(match(href('node', { name }))).toEqual({ page: 'node', params: { name } })
  })

  test('a slash at the end is no other page; unknown and broken addresses are none', () => {
    expect(match('/nodes/')?.page).toBe('nodes')
    for (const path of ['/nodes/a/b', '/node', '/experiments/%zz']) expect(match(path)).toBeUndefined()
  })

  test('empty filters leave no trace in the address', () => {
    expect(searchOf({ q: '', state: undefined })).toBe('')
    expect(href('experiments', undefined, { state: 'Failed', q: 'a b' })).toBe(
      '/experiments?state=Failed&q=a+b',
    )
  })
})
