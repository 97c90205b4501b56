import { once } from 'node:events'
import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { alpn } from '../../agent/cluster/wire/tls.ts'
import { isAlive } from '../../agent/node/process/proc.ts'
import { type Agent, eventually, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

const endless = (name: string) => ({ name, command: 'sleep 600', resources: 'cpu=0.5, memory=64Mi' })

const remove = (of: Lab, agent: Agent, force: '0' | '1' = '0') =>
  of.client().call('nodes.remove', { params: { node: agent.name }, query: { force } })

/** Voters and learners as the cluster shows them, by name. */
async function roles(of: Lab): Promise<Record<string, string>> {
  const { members } = await of.client().call('cluster.get', {})
  return Object.fromEntries(members.map(({ name, role }) => [name, role]))
}

/** Start an agent that must refuse: its exit code and what it said. */
async function refusal(agent: Agent, how: string[] = []): Promise<{ code: number; said: string }> {
  const child = agent.spawn(how)
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, said }
}

/** What an agent answers to whoever took the certificate and key off another's disk, by protocol. */
async function answersTo(thief: Agent, at: Agent): Promise<Record<string, string>> {
  const file = (name: string) => readFile(join(thief.data, 'tls', name))
  const shown = { ca: await file('ca.pem'), cert: await file('node.pem'), key: await file('node.key') }
  const said = async (protocol: string, line = '') => {
    const socket = connect({ port: at.tls, host: '127.0.0.1', ...shown, ALPNProtocols: [protocol], checkServerIdentity: () => undefined }) // prettier-ignore
    await once(socket, 'secureConnect')
    socket.write(line)
    return text(socket).catch((error: unknown) => String((error as NodeJS.ErrnoException).code))
  }
  return {
    raft: await said(alpn.raft),
    snapshot: await said(alpn.snapshot),
    peer: await said(alpn.peer, 'GET /blobs/x HTTP/1.1\r\nhost: node-1\r\nconnection: close\r\n\r\n'),
    renewal: await said(alpn.renew),
  }
}

const ended = (agent: Agent) => eventually(`${agent.name} ends`, () => !agent.running)

describe('removing a node', () => {
  it('is refused while it runs tasks and where no quorum would be left', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(endless('held'))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const holder = here.agentOf(running.tasks[0]?.node ?? null)
    await expect(remove(here, holder)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`${holder.name} runs ${id}-worker-0`) as string,
      hint: expect.stringContaining('--force') as string,
    })
    const [silent, other] = here.agents.filter((agent) => agent !== holder) as [Agent, Agent]
    await silent.kill()
    await eventually('its silence is seen', async () => {
      const node = await here.client().call('nodes.get', { params: { node: silent.name } })
      return node.liveness === 'unreachable'
    })
    await expect(remove(here, other)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(
        new RegExp(`1 of 3 voters would answer and 2 are needed; silent: ${silent.name} for \\d+s`),
      ) as string,
    })
    await remove(here, silent)
    expect(Object.keys(await roles(here))).toHaveLength(2)
  })

  it('by force counts its tasks as failed; its agent hears it, ends them, stops, and refuses to start again; attack: its certificate opens nothing', async () => {
    const here = (lab = await Lab.start({ agents: 4 }))
    const { id } = await here.submit(endless('lost'))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const agent = here.agentOf(running.tasks[0]?.node ?? null)
    const processes = await agent.processes()
    expect(processes.map(isAlive)).toEqual([true])
    await remove(here, agent, '1')
    expect(await here.get(id)).toMatchObject({ state: 'Failed', reason: { code: 'node_removed' } })
    await ended(agent)
    expect(await agent.log()).toContain(`node ${agent.name} (${agent.node}) was removed from cluster lab`)
    expect(processes.map(isAlive)).toEqual([false])
    const again = await refusal(agent)
    expect(again.code).toBe(5)
    expect(again.said).toContain('was removed from cluster lab')
    expect(again.said).toContain(`mv ${agent.data} ${agent.data}.old`)
    await eventually('three others vote', async () => {
      const now = await roles(here)
      return Object.keys(now).length === 3 && Object.values(now).every((role) => role === 'voter')
    })
    for (const other of here.agents.filter((one) => one !== agent))
      expect(await answersTo(agent, other)).toEqual({
        raft: expect.stringMatching(/^(ECONNRESET)?$/) as string,
        snapshot: expect.stringMatching(/^(ECONNRESET)?$/) as string,
        peer: expect.stringContaining('"code":"removed"') as string,
        renewal: expect.stringContaining('is not in the cluster') as string,
      })
    const { items } = await here.client().call('events.list', {})
    expect(items.filter(({ code }) => code === 'node.removed').map(({ message }) => message)).toEqual([
      `admin removed node ${agent.name}`,
    ])
  })

  it('that leads hands over first; one that was away hears it when it is back', async () => {
    const here = (lab = await Lab.start())
    const leader = await here.leader()
    await remove(here, leader)
    await ended(leader)
    // Of two hosts one votes.
    await eventually('one votes', async () => {
      const now = Object.values(await roles(here)).toSorted()
      return now.join() === 'learner,voter'
    })
    const [first, second] = here.agents.filter((agent) => agent !== leader) as [Agent, Agent]
    const away = (await here.leader()) === first ? second : first
    await away.kill()
    await remove(here, away)
    const { code, said } = await refusal(away)
    expect(code).toBe(5)
    expect(said).toContain(`${away.name} (${away.node}) was removed from cluster lab`)
    // The last one goes on alone.
    await here.submit(endless('alone'))
    await expect(remove(here, await here.leader(), '1')).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('is the only node of the cluster') as string,
    })
  })
})

describe('a node that falls silent', () => {
  it('is told of, with the tasks it runs, and so are its return and a new leader', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(endless('held'))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const holder = here.agentOf(running.tasks[0]?.node ?? null)
    const codes = async () =>
      (await here.client().call('events.list', {})).items
        .map(({ code, message }) => `${code}: ${message}`)
        .toReversed()
    const led = await here.leader()
    await holder.kill()
    const silent = await here.until(id, ({ tasks }) => tasks[0]?.node_unreachable_since !== null)
    expect(silent).toMatchObject({ state: 'Running', tasks: [{ node_name: holder.name }] })
    const since = silent.tasks[0]?.node_unreachable_since
    const node = await here.client().call('nodes.get', { params: { node: holder.name } })
    expect(node).toMatchObject({ liveness: 'unreachable', unreachable_since: since })
    await holder.start()
    await here.until(id, ({ tasks }) => tasks[0]?.node_unreachable_since === null)
    const told = await codes()
    expect(told.filter((line) => line.startsWith(`node.unreachable: ${holder.name}`))).toEqual([
      `node.unreachable: ${holder.name} does not answer since ${since}`,
    ])
    expect(told.filter((line) => line.startsWith(`node.returned: ${holder.name}`))).toHaveLength(1)
    if (led === holder)
      expect(told.filter((line) => line.startsWith('cluster.leader_changed'))[0]).toContain(
        `before it ${led.name}`,
      )
  })
})

describe('a damaged member', () => {
  it('refuses with the way back, is removed, joins again under its name, and votes again', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(endless('goes-on'))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const holder = here.agentOf(running.tasks[0]?.node ?? null)
    const leader = await here.leader()
    const damaged = here.agents.find((agent) => agent !== holder && agent !== leader) ?? leader
    await damaged.kill()
    const log = join(damaged.data, 'log', 'log')
    for (const name of await readdir(log))
      if (/\.(log|ldb)$/.test(name)) await writeFile(join(log, name), 'garbage')

    const { code, said } = await refusal(damaged)
    expect(code).not.toBe(0)
    for (const command of [
      `submarine node remove ${damaged.name}    #`,
      'submarine cluster token    #',
      `mv ${damaged.data} ${damaged.data}.old`,
      `submarine agent start --data ${damaged.data} --name ${damaged.name} --join TOKEN    #`,
    ])
      expect(said).toContain(command)

    await rename(damaged.data, `${damaged.data}.old`)
    const { token } = await here.client().call('joinTokens.create', {})
    const taken = await refusal(damaged, ['--join', token])
    expect(taken.said).toContain(`a node named ${damaged.name} is in the cluster already`)
    expect(taken.said).toContain(`submarine node remove ${damaged.name}`)

    const before = damaged.node
    await remove(here, damaged)
    await here.join(damaged)
    expect(damaged.node).not.toBe(before)
    await here.ready()
    const { members } = await here.client().call('cluster.get', {})
    expect(members.map(({ name, role }) => [name, role]).toSorted()).toEqual(
      here.agents.map(({ name }) => [name, 'voter']),
    )
    const caughtUp = await here.client(damaged).call('experiments.get', { params: { experiment: id } })
    expect(caughtUp).toMatchObject({ state: 'Running', tasks: [{ attempt: 1 }] })
  })
})

describe('voters', () => {
  it('are handed the leadership by a planned stop, before it closes', async () => {
    const here = (lab = await Lab.start())
    const leader = await here.leader()
    const before = (await here.client().call('cluster.get', {})).term
    await leader.kill('SIGTERM')
    const [, heir] = /leadership was handed over to (host-\d)/.exec(await leader.log()) ?? []
    const next = here.agents.find(({ name }) => name === heir)
    if (!next) throw new Error(`nobody was named:\n${await leader.log()}`)
    // Known to it before the old one was gone: nothing is waited for here.
    const now = await here.client(next).call('cluster.get', { query: { consistency: 'local' } })
    expect([now.leader, now.term]).toEqual([next.node, before + 1])
    await here.client(next).call('joinTokens.create', {})
  })

  it('that are silent for long are replaced by a live learner, and come back as one', async () => {
    const here = (lab = await Lab.start({ agents: 4, args: ['--replace-voter-after', '3s'] }))
    const before = await roles(here)
    const leader = await here.leader()
    const silent = here.agents.find((agent) => agent !== leader && before[agent.name] === 'voter')
    const learner = Object.keys(before).find((name) => before[name] === 'learner')
    if (!silent || !learner) throw new Error(`expected a voter and a learner: ${JSON.stringify(before)}`)
    await silent.kill()
    const after = { ...before, [silent.name]: 'learner', [learner]: 'voter' }
    await eventually(
      'it is replaced',
      async () => JSON.stringify(await roles(here)) === JSON.stringify(after),
    )
    await silent.start()
    await here.ready()
    expect(await roles(here)).toEqual(after)
  })

  it('are five of five hosts; of four that are left, three, and of three, three', async () => {
    const here = (lab = await Lab.start({ agents: 5 }))
    expect(Object.values(await roles(here))).toEqual(Array.from({ length: 5 }, () => 'voter'))
    for (const hosts of [4, 3]) {
      const leader = await here.leader()
      const leaving = here.agents.find((agent) => agent.running && agent !== leader)
      if (!leaving) throw new Error('expected another than the leader')
      await remove(here, leaving)
      await ended(leaving)
      await eventually(`three of ${hosts} vote`, async () => {
        const now = Object.values(await roles(here))
        return now.length === hosts && now.filter((role) => role === 'voter').length === 3
      })
    }
  })
})
