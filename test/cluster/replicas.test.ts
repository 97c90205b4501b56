import { crc32 } from 'node:zlib'
import { join } from 'node:path'
import { Level } from 'level'
import { afterEach, describe, expect, it } from 'vitest'
import { type Agent, eventually, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

/** Value as the state database keeps it: CRC-32, then JSON. */
function sealed(value: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(value))
  const out = Buffer.alloc(body.length + 4)
  out.writeUInt32BE(crc32(body))
  body.copy(out, 4)
  return out
}
const opened = <T>(value: Buffer) => JSON.parse(value.subarray(4).toString()) as T
const sumOf = (key: string, value: Buffer) => crc32(value, crc32(key))

/** Changes a record of a stopped agent's state with every checksum right; `whole` keeps the sum of all right too. */
async function falsify(
  agent: Agent,
  table: string,
  change: (row: Record<string, unknown>) => object,
  whole: boolean,
): Promise<void> {
  const db = new Level<string, Buffer>(join(agent.data, 'state'), { valueEncoding: 'buffer' })
  for await (const [key, value] of db.iterator({ gt: `r!${table}!`, lt: `r!${table}!\uffff`, limit: 1 })) {
    const other = sealed(change(opened<Record<string, unknown>>(value)))
    await db.put(key, other)
    const marked = await db.get('m!applied')
    if (!marked) throw new Error('the state has no mark')
    const { digest: before, ...mark } = opened<{ digest: number }>(marked)
    const digest = before - sumOf(key, value) + sumOf(key, other)
    if (whole) await db.put('m!applied', sealed({ ...mark, digest }))
  }
  await db.close()
}

const job = { name: 'kept', command: 'true', resources: 'cpu=0.5, memory=64Mi' }
const local = (of: Lab, agent: Agent, id: string) =>
  of.client(agent).call('experiments.get', { params: { experiment: id }, query: { consistency: 'local' } })

async function codes(of: Lab): Promise<string[]> {
  return (await of.client().call('events.list', { query: { page_size: 1000 } })).items.map(({ code }) => code)
}

describe('a replica whose state is another', () => {
  it('is found by comparing digests, named, and made anew from a healthy one', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(job)
    await here.ended(id)
    const leader = await here.leader()
    const victim = here.agents.find((agent) => agent !== leader)
    if (!victim) throw new Error('expected another agent')
    await victim.kill('SIGTERM')
    await falsify(victim, 'experiments', (row) => ({ ...row, owner: 'nobody' }), true)
    await victim.start()
    await eventually(
      'it has the right state again',
      async () =>
        (await victim.log()).includes('the state is made anew from another replica') &&
        (await local(here, victim, id).catch(() => undefined))?.owner === 'admin',
    )
    await eventually('and is known to be right', async () => {
      const { items } = await here.client().call('nodes.list', {})
      return items.every((node) => !node.state_differs) && (await codes(here)).includes('node.state_equal')
    })
    expect(await codes(here)).toContain('node.state_differs')
    await here.ended((await here.submit({ ...job, name: 'after' })).id)
  }, 300_000)

  it('is made again from its own log when the disk altered it, and says so', async () => {
    const here = (lab = await Lab.start({ agents: 1 }))
    const [agent] = here.agents
    if (!agent) throw new Error('expected an agent')
    const { id } = await here.submit(job)
    const done = await here.ended(id)
    await agent.kill()
    await falsify(agent, 'experiments', (row) => ({ ...row, owner: 'nobody' }), false)
    await agent.start()
    expect(await here.get(id)).toEqual(done)
    await eventually('it is told', async () => (await codes(here)).includes('node.state_equal'))
    expect(await agent.log()).toContain('the state is damaged on disk')
  }, 120_000)
})
