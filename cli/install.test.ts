import { expect, test } from 'vitest'
import { firstStale } from './install.js'

const lock = {
  packages: {
    '': {},
    'node_modules/a': { version: '1.0.0' },
    'node_modules/for-windows': { version: '2.0.0', optional: true },
  },
}

test('nothing installed, or a package lacking, is stale', () => {
  expect(firstStale(lock, undefined)).toBe('node_modules/a')
  expect(firstStale(lock, { packages: {} })).toBe('node_modules/a')
})

test('another version is stale, also of an optional package', () => {
  const a = { version: '1.0.0' }
  expect(firstStale(lock, { packages: { 'node_modules/a': { version: '1.0.1' } } })).toBe('node_modules/a')
  const windows = { version: '1.9.0', optional: true }
  expect(firstStale(lock, { packages: { 'node_modules/a': a, 'node_modules/for-windows': windows } })).toBe(
    'node_modules/for-windows',
  )
})

test('an optional package of another platform may be absent', () => {
  expect(firstStale(lock, { packages: { 'node_modules/a': { version: '1.0.0' } } })).toBeUndefined()
})
