import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { password } from '../services/testing/world.ts'
import { serve, type Served } from './testing/served.ts'

let agent: Served
const noted: object[] = []
beforeEach(async () => {
  agent = await serve({ services: { strangers: (note) => noted.push(note) } })
})
afterEach(async () => {
  noted.length = 0
  await agent.close()
})

async function signIn(user = 'admin'): Promise<Record<string, string>> {
  const body = JSON.stringify({ user, password })
  const headers = { 'content-type': 'application/json' }
  const answer = await agent.fetch('/api/v2/session', { method: 'POST', headers, body })
  const { token } = (await answer.json()) as { token: string }
  return { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
}

const list = async (headers: Record<string, string>, query = '') =>
  (await (await agent.fetch(`/api/v2/audit${query}`, { headers })).json()) as {
    items: Record<string, unknown>[]
  }

const told = async (headers: Record<string, string>, query: string) => {
  await expect.poll(async () => (await list(headers, query)).items.length).toBeGreaterThan(0)
  return (await list(headers, query)).items
}

describe('the audit log over HTTP', () => {
  it('has where a change came from and the id of its request', async () => {
    const headers = await signIn()
    const answer = await agent.fetch('/api/v2/queues/night', { method: 'PUT', headers, body: '{}' })
    const [made] = (await list(headers, '?object=queue/night')).items
    expect(made).toMatchObject({
      actor: 'user:admin', action: 'queue.put', address: '127.0.0.1', request: answer.headers.get('x-request-id'), decision: 'allowed',
    }) // prettier-ignore
  })

  it('counts calls of one person that were refused, and is for admins alone', async () => {
    agent.world.submit('e1')
    const [token = ''] = agent.world.run('e1')
    const task = { authorization: `Bearer ${token}` }
    const admin = await signIn()
    for (let times = 0; times < 5; times++)
      expect((await agent.fetch('/api/v2/audit', { headers: task })).status).toBe(403)
    const [first, ...more] = await told(admin, '?decision=refused&actor=task:e1-worker-0')
    expect(first).toMatchObject({ action: 'audit.read', code: 'forbidden', count: 1 })
    expect(more).toEqual([])
  })

  it('tells of a wrong password for an account that there is, and of none that there is not', async () => {
    const headers = { 'content-type': 'application/json' }
    for (const user of ['admin', 'nobody']) {
      const body = JSON.stringify({ user, password: 'wrong password' })
      expect((await agent.fetch('/api/v2/session', { method: 'POST', headers, body })).status).toBe(401)
    }
    const failed = await told(await signIn(), '?decision=refused')
    expect(failed).toMatchObject([
      { actor: 'anonymous', object: { kind: 'user', id: 'admin' }, code: 'bad_credentials' },
    ])
    expect(JSON.stringify([failed, noted])).not.toMatch(/wrong password|nobody/)
  })

  it('leaves those who are nobody to this node', async () => {
    expect((await agent.fetch('/api/v2/nodes')).status).toBe(401)
    const admin = await signIn()
    expect(noted).toMatchObject([{ actor: 'anonymous', action: 'node.read', code: 'unauthenticated' }])
    expect((await list(admin, '?decision=refused')).items).toEqual([])
  })

  it('is exported as JSON lines, and says so', async () => {
    const admin = await signIn()
    const answer = await agent.fetch('/api/v2/audit.jsonl', { headers: admin })
    const lines = (await answer.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { seq: number; action: string })
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, at) => at + 1))
    expect(lines.at(-1)).toMatchObject({ action: 'audit.export' })
  })
})
