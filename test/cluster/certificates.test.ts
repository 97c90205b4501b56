import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { faketime, needs } from '../setup/needs.ts'
import { type Agent, eventually, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

const day = 24 * 3_600_000
const aYearLater = { LD_PRELOAD: faketime, FAKETIME: '+400d', FAKETIME_DONT_FAKE_MONOTONIC: '1' }

async function goodFor(agent: Agent): Promise<number> {
  const cert = new X509Certificate(await readFile(join(agent.data, 'tls', 'node.pem')))
  return (cert.validToDate.getTime() - Date.now()) / day
}

describe('a lab that was off for longer than certificates last', needs.faketime, () => {
  it('renews them as its hosts come back, without a quorum at first, and goes on', async () => {
    const here = (lab = await Lab.start({ agents: 4 }))
    const nodes = await here.ready()
    const learner = here.agentOf(nodes.find(({ role }) => role !== 'voter')?.id ?? null)
    const [voter, ...others] = here.agents.filter((agent) => agent !== learner) as [Agent, ...Agent[]]
    const { id } = await here.submit({
      name: 'before',
      command: 'echo done',
      resources: 'cpu=0.5, memory=64Mi',
    })
    await here.ended(id)
    for (const agent of here.agents) await agent.kill()
    expect(await goodFor(learner)).toBeLessThan(366)
    // One voter alone can elect nobody.
    for (const agent of [voter, learner]) await agent.start([], aYearLater)
    await eventually(
      'both have new ones',
      async () => (await goodFor(voter)) > 700 && (await goodFor(learner)) > 700,
    )
    for (const agent of others) await agent.start([], aYearLater)
    await here.signIn()
    await here.ready()
    expect((await here.get(id)).state).toBe('Succeeded')
    const after = await here.submit({
      name: 'after',
      command: 'echo done',
      resources: 'cpu=0.5, memory=64Mi',
    })
    expect((await here.ended(after.id)).state).toBe('Succeeded')
  })
})
