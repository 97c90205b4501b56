import { afterEach, describe, expect, it } from 'vitest'
import { isAlive } from '../../agent/node/process/proc.ts'
import type { Experiment, ExperimentInput } from '../../contract/index.ts'
import { type Agent, eventually, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

const endless = (name: string, more: Partial<ExperimentInput> = {}): ExperimentInput => ({
  name,
  command: 'sleep 600',
  resources: 'cpu=0.5, memory=64Mi',
  grace: 1,
  ...more,
})
const running = (experiment: Experiment) => experiment.tasks.every(({ state }) => state === 'Running')

/** Submits it to that node alone. */
async function on(here: Lab, agent: Agent, spec: ExperimentInput): Promise<string> {
  const { id } = await here.submit({ ...spec, affinities: [`node = ${agent.name} weight 100`] })
  const { tasks } = await here.until(id, running)
  expect(tasks[0]?.node).toBe(agent.node)
  return id
}

const unreachable = (here: Lab, agent: Agent) =>
  eventually('its silence is in the log', async () => {
    const { unreachable_since } = await here.client().call('nodes.get', { params: { node: agent.node } })
    return unreachable_since !== null
  })

async function follower(here: Lab): Promise<Agent> {
  const leader = await here.leader()
  return here.agents.find((agent) => agent !== leader) as Agent
}

describe('a task whose node falls silent', () => {
  it('on hold waits for an admin’s word; with it, it fails or is tried again, and the silent node ends its own', async () => {
    const here = (lab = await Lab.start())
    const away = await follower(here)
    const once = await on(here, away, endless('once'))
    const again = await on(here, away, endless('again', { retries: 1, loss_policy: 'hold' }))
    const params = { node: away.node }
    await expect(here.client().call('nodes.confirm_down', { params })).rejects.toMatchObject({
      code: 'conflict',
    })
    await away.kill()
    const left = await away.processes()
    await unreachable(here, away)
    expect((await here.get(once)).state).toBe('Running')
    await here.client().call('nodes.confirm_down', { params })
    expect(await here.get(once)).toMatchObject({ state: 'Failed', reason: { code: 'node_down' } })
    const moved = await here.until(again, (now) => running(now) && now.tasks[0]?.attempt === 2)
    expect(moved.tasks[0]?.node).not.toBe(away.node)
    const { items } = await here.client().call('events.list', {})
    expect(items.find(({ code }) => code === 'node.confirmed_down')).toMatchObject({ actor: 'user:admin' })
    // Here the host was not down: what it still runs is ended when it is back.
    expect(left.map(isAlive)).toEqual([true, true])
    await away.start()
    await eventually('it ends what it lost', () => !left.some(isAlive))
    expect((await here.get(again)).tasks[0]).toMatchObject({ state: 'Running', attempt: 2 })
  })

  it.each(['follower', 'leader'])(
    'with replace-now runs elsewhere at once, when the %s dies',
    async (who) => {
      const here = (lab = await Lab.start())
      const away = who === 'leader' ? await here.leader() : await follower(here)
      const id = await on(here, away, endless('now', { loss_policy: 'replace-now' }))
      const from = Date.now()
      await away.kill()
      const moved = await here.until(id, (now) => running(now) && now.tasks[0]?.attempt === 2)
      const [task] = moved.tasks
      const took = Date.parse(task?.started_at ?? '') - from
      process.stderr.write(`replace-now, the ${who} died: it runs elsewhere after ${took} ms\n`)
      expect(task?.node).not.toBe(away.node)
      expect(task?.past?.[0]?.reason).toMatchObject({
        code: 'node_lost',
        message: expect.stringContaining('may still run there') as string,
      })
    },
  )
})

describe('a lease', () => {
  it('ends on a node that is cut off, where nothing else does, and the task goes on when there is a leader', async () => {
    const here = (lab = await Lab.start())
    const cut = await follower(here)
    const leased = await on(here, cut, endless('leased', { loss_policy: 'lease 10 s' }))
    const [lease] = await cut.processes()
    const held = await on(here, cut, endless('held'))
    const hold = (await cut.processes()).find(({ pid }) => pid !== lease?.pid)
    expect([lease, hold].map((one) => one && isAlive(one))).toEqual([true, true])
    const others = here.agents.filter((agent) => agent !== cut)
    for (const other of others) await other.kill()
    await eventually('its lease is over', () => lease && !isAlive(lease))
    expect(cut.running).toBe(true)
    expect(hold && isAlive(hold)).toBe(true)
    for (const other of others) await other.start()
    const back = await here.until(leased, (now) => running(now) && now.tasks[0]?.attempt === 2)
    expect(back.tasks[0]?.past?.[0]?.reason?.code).toBe('lease_expired')
    expect((await here.get(held)).tasks[0]).toMatchObject({ state: 'Running', attempt: 1 })
  })

  it('ends on a node whose agent is dead, before the task runs elsewhere', async () => {
    const here = (lab = await Lab.start())
    const dead = await follower(here)
    const id = await on(here, dead, endless('leased', { loss_policy: 'lease 10 s' }))
    const [task] = await dead.processes()
    await dead.kill()
    let overlap = false
    const moved = await here.until(id, (now) => {
      overlap ||= now.tasks[0]?.attempt === 2 && task !== undefined && isAlive(task)
      return running(now) && now.tasks[0]?.attempt === 2
    }, 120) // prettier-ignore
    expect(overlap).toBe(false)
    expect(task && isAlive(task)).toBe(false)
    expect(moved.tasks[0]?.node).not.toBe(dead.node)
    expect(moved.tasks[0]?.past?.[0]?.reason).toMatchObject({ code: 'node_lost' })
  })
})
