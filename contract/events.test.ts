import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { eventCodes, eventsPage } from './events.ts'
import { states } from './states.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The first argument of each `tx.event(…)`: literals, and templates over a state. */
function codesIn(source: string): string[] {
  return [...source.matchAll(/\.event\(\s*((?:[^,'`]|'[^']*'|`[^`]*`)+),/g)].flatMap(([, code = '']) => {
    const literals = [...code.matchAll(/'([^']+)'/g)].map(([, text = '']) => text)
    const templates = [...code.matchAll(/`([^`]+)`/g)].flatMap(([, text = '']) =>
      states.map((state) => text.replace(/\$\{state\.toLowerCase\(\)\}/, state.toLowerCase())),
    )
    return [...literals, ...templates]
  })
}

it('lists every code that a rule emits', () => {
  const files = globSync('agent/{cluster,recovery}/**/*.ts', { cwd: root }).filter(
    (file) => !file.endsWith('.test.ts'),
  )
  const sources = files.map((file) => readFileSync(`${root}/${file}`, 'utf8'))
  const emitted = sources.flatMap(codesIn)
  expect(emitted.length).toBeGreaterThan(20)
  const listed = Object.keys(eventCodes)
  const missing = [...new Set(emitted)].filter((code) => !listed.includes(code) && !neverEmitted.has(code))
  expect(missing, 'add these to contract/events.ts').toEqual([])
})

/** What the template over states says of states that have an event of their own, or none. */
const neverEmitted = new Set(['task.accepted'])

it('makes docs/events.md', async () => {
  await expect(eventsPage()).toMatchFileSnapshot('../docs/events.md')
})
