import { describe, expect, test } from 'vitest'
import { type ProblemCode, ProblemError } from '../../contract/problem.ts'
import { createApi, problemFrom } from './client.ts'

const problem = (code: ProblemCode) => {
  const error = new ProblemError(code)
  return Response.json(error.toProblem(), { status: error.status })
}
const page = () => Response.json({ items: [], next_page_token: null, resource_version: 3 })

/** An API over scripted answers; what was asked is kept. */
function apiOver(...answers: (() => Response)[]) {
  const asked: { path: string; key: string | undefined }[] = []
  let signedOut = 0
  let leaderless = false
  const api = createApi({
    send: async (path, init) => {
      asked.push({ path, key: (init.headers as Record<string, string>)['idempotency-key'] })
      return (answers.length > 1 ? answers.shift() : answers[0])?.() ?? page()
    },
    onSignedOut: () => signedOut++,
    withoutLeader: () => leaderless,
    sleep: async () => {},
  })
  return { api, asked, signedOut: () => signedOut, loseLeader: () => (leaderless = true) }
}
const body = { name: 'a', command: 'true' }

describe('calls of the console', () => {
  test('reads are tried again while there is no leader', async () => {
    const { api, asked } = apiOver(
      () => problem('no_leader'),
      () => problem('busy'),
      page,
    )
    await expect(api.call('nodes.list', {})).resolves.toMatchObject({ resource_version: 3 })
    expect(asked).toHaveLength(3)
  })

  test('a POST retried through a dying leader keeps its key, so it happens once', async () => {
    const { api, asked } = apiOver(
      () => problem('outcome_unknown'),
      () => problem('no_leader'),
      page,
    )
    await api.call('experiments.create', { body })
    expect(new Set(asked.map(({ key }) => key)).size).toBe(1)
    expect(asked[0]?.key).toMatch(/^[0-9a-f]{32}$/)
  })

  test('two submits are two keys', async () => {
    const { api, asked } = apiOver(page)
    await api.call('experiments.create', { body })
    await api.call('experiments.create', { body })
    expect(asked[0]?.key).not.toBe(asked[1]?.key)
  })

  test('sign-in is sent once', async () => {
    const { api, asked } = apiOver(() => problem('no_leader'))
    await expect(api.call('session.create', { body: { user: 'a', password: 'b' } })).rejects.toThrow()
    expect(asked).toHaveLength(1)
  })

  test('without a leader a list comes from the agent’s own copy, and says so', async () => {
    const { api, asked } = apiOver(() => problem('no_leader'), page)
    await expect(api.read('nodes.list', { query: { page_size: 5 } })).resolves.toMatchObject({ old: true })
    expect(asked[1]?.path).toContain('page_size=5&consistency=local')
  })

  test('while it is known that nobody leads, reads go to the own copy at once, unless asked to be strong', async () => {
    const { api, asked, loseLeader } = apiOver(page)
    loseLeader()
    await expect(api.read('nodes.list', {})).resolves.toMatchObject({ old: true })
    await expect(api.read('nodes.list', { query: { consistency: 'strong' } })).resolves.toMatchObject({
      old: false,
    })
    expect(asked.map(({ path }) => path.includes('consistency=local'))).toEqual([true, false])
  })

  test('other failures are not asked away', async () => {
    const { api, asked } = apiOver(() => problem('not_found'))
    await expect(api.read('nodes.get', { params: { node: 'x' } })).rejects.toMatchObject({
      code: 'not_found',
    })
    expect(asked).toHaveLength(1)
  })

  test('a 401 ends the session; a wrong password does not', async () => {
    const out = apiOver(() => problem('unauthenticated'))
    await expect(out.api.call('me.get', {})).rejects.toThrow()
    expect(out.signedOut()).toBe(1)
    const wrong = apiOver(() => problem('bad_credentials'))
    await expect(wrong.api.call('session.create', { body: { user: 'a', password: 'b' } })).rejects.toThrow()
    expect(wrong.signedOut()).toBe(0)
  })

  test('anything thrown is shown as a problem with a hint', () => {
    expect(problemFrom(new TypeError('x is not a function'))).toMatchObject({
      code: 'internal',
      message: 'x is not a function',
    })
  })
})
