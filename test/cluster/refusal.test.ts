import { once } from 'node:events'
import { createServer } from 'node:net'
import { cp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type Agent, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

/** Start an agent that must refuse: its exit code and what it said. */
async function refusal(agent: Agent, how: string[] = []): Promise<{ code: number; said: string }> {
  const child = agent.spawn(how)
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, said }
}

describe('an agent refuses to start', () => {
  it('without a cluster to be in, on a damaged log, a lost CURRENT, and the data of another cluster', async () => {
    const one = (lab = await Lab.start({ agents: 1 }))
    const [agent] = one.agents
    if (!agent) throw new Error('expected an agent')
    await agent.kill('SIGTERM')
    expect((await refusal(agent, ['--create'])).said).toContain('already belongs to a cluster')

    const whole = `${agent.data}.whole`
    await cp(agent.data, whole, { recursive: true })
    const restore = async () => {
      await rm(agent.data, { recursive: true })
      await cp(whole, agent.data, { recursive: true })
    }
    const log = join(agent.data, 'log', 'log')

    await rm(join(log, 'CURRENT'))
    const lost = await refusal(agent)
    expect(lost.code).not.toBe(0)
    expect(lost.said).toMatch(/CURRENT|missing|damaged/i)

    await restore()
    for (const name of await readdir(log))
      if (/\.(log|ldb)$/.test(name)) await writeFile(join(log, name), 'garbage')
    const damaged = await refusal(agent)
    expect(damaged.code).not.toBe(0)
    expect(damaged.said).toMatch(/cannot be opened|damaged|gap/)
    expect(damaged.said).toContain('hint: Move the data folder away and join again')

    await restore()
    await rm(join(agent.data, 'log'), { recursive: true })
    const other = await Lab.start({ agents: 1 })
    try {
      const [stranger] = other.agents
      await stranger?.kill('SIGTERM')
      await cp(join(stranger?.data ?? '', 'log'), join(agent.data, 'log'), { recursive: true })
    } finally {
      await other.stop()
    }
    const foreign = await refusal(agent)
    expect(foreign.code).not.toBe(0)
    expect(foreign.said).toMatch(/another|foreign|belongs/i)

    await restore()
    await agent.start()
    expect((await one.client().call('nodes.list', {})).items).toHaveLength(1)
  })

  it('where its port is taken, and with a file for a data folder, in plain sentences', async () => {
    const one = (lab = await Lab.start({ agents: 1 }))
    const [agent] = one.agents
    if (!agent) throw new Error('expected an agent')
    await agent.kill('SIGTERM')
    const taken = createServer().listen(agent.tls, '127.0.0.1')
    await once(taken, 'listening')
    try {
      const { code, said } = await refusal(agent)
      expect(code).toBe(5)
      expect(said).toContain(
        `error: another process listens at 127.0.0.1:${agent.tls} already\nhint: Is an agent`,
      )
    } finally {
      taken.close()
    }
    await rename(agent.data, `${agent.data}.away`)
    await writeFile(agent.data, 'not a folder')
    const { code, said } = await refusal(agent)
    expect(code).toBe(5)
    expect(said).toContain(
      `error: a file stands where the data folder should be: ${agent.data}\nhint: Give a folder`,
    )
  })

  it('no more when only the state database is gone: it is made again from the log', async () => {
    const one = (lab = await Lab.start({ agents: 1 }))
    const [agent] = one.agents
    if (!agent) throw new Error('expected an agent')
    const { id } = await one.submit({ name: 'kept', command: 'true', resources: 'cpu=0.5, memory=64Mi' })
    const before = await one.ended(id)
    await agent.kill()
    await rm(join(agent.data, 'state'), { recursive: true })
    await agent.start()
    expect(await one.get(id)).toEqual(before)
  })

  it('with a join token that was used, and says how to get another', async () => {
    const one = (lab = await Lab.start({ agents: 2 }))
    const [first, second] = one.agents
    if (!first || !second) throw new Error('expected two agents')
    const { token } = await one.client().call('joinTokens.create', {})
    await second.kill('SIGTERM')
    await rm(second.data, { recursive: true })
    const taken = await refusal(second, ['--join', token])
    expect(taken.said).toContain('host-2')
    expect((await refusal(second, ['--join', 'nonsense'])).said).toContain('sdcj1')
  })
})
