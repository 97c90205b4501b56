import { afterEach, describe, expect, it } from 'vitest'
import type { Route } from '../../../contract/route.ts'

import { routes } from '../../../contract/routes.ts'
import { calls, type RouteName, usual } from './calls.ts'
import { expected, expectedLists } from './expected.ts'
import { type Caller, callers, type Object, objects, openScene, type Scene } from './people.ts'

let scene: Scene | undefined
afterEach(async () => {
  await scene?.served.close()
  scene = undefined
})

/** A scene that nothing was changed in since it was opened. */
async function fresh(): Promise<Scene> {
  await scene?.served.close()
  return (scene = await openScene())
}

function urlOf(name: RouteName, object: Object): string {
  const { path }: Route = routes[name]
  const call = calls[name]?.(object) ?? {}
  const params: Record<string, string> = { ...usual(object), ...call.params }
  const filled = path.replaceAll(/\{(\w+)(\*?)\}/g, (_, key: string) => {
    const value = params[key]
    if (value === undefined) throw new Error(`calls.ts says nothing of {${key}} of ${name}`)
    return encodeURIComponent(value)
  })
  return `/api/v2${filled}?${new URLSearchParams(call.query).toString()}`
}

function request(here: Scene, name: RouteName, object: Object, caller: Caller): Promise<Response> {
  const { method, body, upload }: Route = routes[name]
  const call = calls[name]?.(object) ?? {}
  if ((body || upload) && !calls[name])
    throw new Error(`say in calls.ts how ${name} is called: '${name}': () => ({ body: … }),`)
  const token = here.tokens[caller]
  const json = call.body === undefined ? {} : { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' } // prettier-ignore
  return here.served.fetch(urlOf(name, object), {
    method,
    redirect: 'manual',
    headers: { ...json, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    ...(call.bytes ? { body: new Uint8Array(call.bytes) } : {}),
  })
}

/** `+` for whoever may, else the status of the refusal. A fault of the request or of the agent is neither. */
async function answered(here: Scene, name: RouteName, object: Object, caller: Caller): Promise<string> {
  const response = await request(here, name, object, caller)
  const { status } = response
  if ([401, 403, 404].includes(status)) {
    const { code } = (await response.json()) as { code: string }
    return code === 'bad_credentials' ? '+' : String(status)
  }
  if (status === 400 || status >= 500)
    throw new Error(`${caller}: ${name} answered ${status}: ${await response.text()}`)
  await response.body?.cancel()
  return '+'
}

async function rowOf(name: RouteName, object: Object): Promise<string> {
  const cells: string[] = []
  for (const caller of callers) {
    const here = routes[name].method === 'GET' && scene ? scene : await fresh()
    cells.push(await answered(here, name, object, caller))
  }
  return cells
    .map((cell) => cell.padEnd(3))
    .join(' ')
    .trimEnd()
}

const columns = `the columns are: ${callers.join(', ')}`

describe('permission matrix', () => {
  it.each(Object.keys(routes) as RouteName[])(
    '%s',
    async (name) => {
      const row = expected[name]
      const isAboutOne = routes[name].path.includes('{experiment}')
      const found: Record<string, string> = {}
      for (const object of isAboutOne ? objects : (['own'] as const))
        found[object] = await rowOf(name, object)
      const now = isAboutOne ? found : found['own']
      if (row === undefined)
      throw new Error(`expected.ts has no row for ${name}. Decide who may, and write it: today it is\n'${name}': ${JSON.stringify(now)},\n${columns}`) // prettier-ignore
      expect(now, columns).toEqual(row)
    },
    60_000,
  )

  it('has no row for what is no route', () => {
    expect(Object.keys(expected).filter((name) => !Object.hasOwn(routes, name))).toEqual([])
  })
})

/** Of which experiments somebody is told, by whatever text they get. */
const named = (text: string): string =>
  objects.filter((object) => text.includes(`"id":"${object}"`)).join(' ')

describe('permission matrix of lists', () => {
  const people = callers.slice(2, 8)

  it.each(['experiments.list', 'events.list', 'quotas.list'] as const)('%s', async (name) => {
    const here = await fresh()
    const found: Record<string, string> = {}
    for (const caller of people) {
      const text = await (await request(here, name, 'own', caller)).text()
      found[caller] =
        name === 'quotas.list' ? ['user:ana', 'team:nlp'].filter((one) => text.includes(one)).join(' ') : named(text)
    }
    expect(found).toEqual(expectedLists[name])
  }) // prettier-ignore

  it('watch', async () => {
    const here = await fresh()
    const found: Record<string, string> = {}
    for (const caller of people) {
      const response = await here.served.fetch('/api/v2/watch?kinds=experiment,event', {
        headers: { authorization: `Bearer ${here.tokens[caller]}` },
      })
      let text = ''
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
      // The last is one that everybody sees.
      for (const id of objects)
        here.served.world.log.propose({ type: 'experiment.edit', id, patch: { description: `for ${caller}` } }, { kind: 'system' }) // prettier-ignore
      while (reader && !text.includes('"id":"shared"')) text += (await reader.read()).value ?? ''
      await reader?.cancel()
      found[caller] = named(text)
    }
    expect(found).toEqual(expectedLists['watch'])
  })
})
