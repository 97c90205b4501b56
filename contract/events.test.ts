import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { eventCodes, eventsPage } from './events.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(`${root}/${file}`, 'utf8')
const found = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, code = '']) => code)

const files = globSync('agent/{cluster/rules,recovery}/**/*.ts', { cwd: root })
const sources = files.filter((file) => !file.endsWith('.test.ts')).map(read)
const source = sources.join('\n')
/** Literals of the same form that are no events. */
const commands = new Set(found(read('agent/cluster/apply.ts'), /'([a-z]+\.[a-z_]+)':/gi))
const listed: readonly string[] = Object.keys(eventCodes)
const kinds = new Set([
  ...listed.map((code) => code.split('.')[0]),
  'quota',
  'queue',
  'reservation',
  'prices',
])

it('lists every code that stands in a rule', () => {
  const codes = found(source, /'([a-z]+\.[a-z_]+)'/g).filter(
    (code) => !commands.has(code) && kinds.has(code.split('.')[0]) && code !== 'cluster.key',
  )
  expect(codes.length).toBeGreaterThan(30)
  const missing = [...new Set(codes)].filter((code) => !listed.includes(code))
  expect(missing, 'add these to contract/events.ts').toEqual([])
})

it('lists what a rule makes of a state, and nothing that no rule tells', () => {
  const templates = found(source, /`([a-z]+\.[a-z_]*\$\{[^}`]+\}[a-z_]*)`/g)
  const patterns = templates.map(
    (template) => new RegExp(`^${template.replaceAll(/\$\{[^}]+\}/g, '[a-z_]+').replaceAll('.', '\\.')}$`),
  )
  const made = (pattern: RegExp) => listed.some((code) => pattern.test(code))
  expect(patterns.filter((pattern) => !made(pattern)).map(String)).toEqual([])
  const isTold = (code: string) =>
    source.includes(`'${code}'`) || patterns.some((pattern) => pattern.test(code))
  expect(listed.filter((code) => !isTold(code))).toEqual([])
})

it('makes docs/events.md', async () => {
  await expect(eventsPage()).toMatchFileSnapshot('../docs/events.md')
})
