import { afterEach, describe, expect, it } from 'vitest'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { isAlive } from '../../agent/node/process/proc.ts'
import { findNode } from '../../cli/node24.js'
import { type Experiment, ProblemError } from '../../contract/index.ts'
import { eventually, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

/** Counts aloud, one number each tenth of a second, and leaves a file. */
const counting = (to: number, name = 'counting') => ({
  name,
  command: `i=1; while [ $i -le ${to} ]; do echo $i; i=$((i+1)); sleep 0.1; done; echo done > $SUBMARINE_OUTPUT/end.txt`,
  resources: 'cpu=1, memory=64Mi',
})
const numbers = (to: number) => Array.from({ length: to }, (_, at) => String(at + 1))

/** The command line, sent to one agent alone. */
async function cli(
  args: string[],
  address: string,
  token: string,
): Promise<{ stdout: string; stderr: string }> {
  const env = { ...process.env, SUBMARINE_ADDRESS: address, SUBMARINE_TOKEN: token, NO_COLOR: '1' }
  return promisify(execFile)(findNode(), ['cli/index.ts', ...args], { env })
}

async function eventCodes(of: Lab, id: string): Promise<string[]> {
  return (await of.client().call('experiments.events', { params: { experiment: id } })).items.map(
    ({ code }) => code,
  )
}

describe('kill -9', () => {
  it('of the leader while an experiment runs elsewhere: it finishes and is counted once', async () => {
    const here = (lab = await Lab.start())
    // First fit takes host-1; the leader must be another, or the experiment moves with it.
    const { id } = await here.submit(counting(60))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const node = running.tasks[0]?.node ?? null
    let leader = await here.leader()
    if (here.agentOf(node) === leader) {
      await leader.kill()
      await leader.start()
      leader = await here.leader()
    }
    await leader.kill()
    const done = await here.ended(id)
    expect(done.state).toBe('Succeeded')
    expect(await here.logOf(id)).toEqual(numbers(60))
    const codes = await eventCodes(here, id)
    expect(codes.filter((code) => code === 'experiment.succeeded')).toHaveLength(1)
    expect(codes.filter((code) => code === 'task.placed')).toHaveLength(1)
  })

  it('of the agent that runs it: the same process goes on, the log has no gap, the end is told once', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(counting(50))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const agent = here.agentOf(running.tasks[0]?.node ?? null)
    await eventually('some lines', async () => (await here.logOf(id)).length > 3)
    await agent.kill()
    await agent.start()
    const done = await here.ended(id)
    expect(done).toMatchObject({ state: 'Succeeded', tasks: [{ attempt: 1, exit_code: 0 }] })
    expect(await here.logOf(id)).toEqual(numbers(50))
    expect((await eventCodes(here, id)).filter((code) => code === 'task.succeeded')).toHaveLength(1)
  })

  it('of the agent that ran it, after the end: log, points and files are read from the second node', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(counting(40))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const points = [{ key: 'loss', value: 0.5, step: 1 }]
    await here.client().call('experiments.log_metrics', { params: { experiment: id }, body: { points } })
    await here.ended(id)
    await here.agentOf(running.tasks[0]?.node ?? null).kill()
    expect(await here.logOf(id)).toEqual(numbers(40))
    const { series } = await here.client().call('experiments.metrics', { params: { experiment: id } })
    expect(series[0]?.points.map(([step, value]) => [step, value])).toEqual([[1, 0.5]])
    const params = { experiment: id, task: `${id}-worker-0`, path: 'end.txt' }
    expect(await (await here.client().raw('experiments.artifact', { params })).text()).toBe('done\n')
  })

  it('of all three: everything acknowledged is there afterwards', async () => {
    const here = (lab = await Lab.start())
    const first = await here.ended((await here.submit(counting(5, 'first'))).id)
    const points = numbers(20).map((step) => ({ key: 'loss', value: 1 / Number(step), step: Number(step) }))
    const running = await here.submit(counting(100, 'running'))
    await here.until(running.id, ({ state }) => state === 'Running')
    const logged = await here
      .client()
      .call('experiments.log_metrics', { params: { experiment: running.id }, body: { points } })
    expect(logged).toEqual({ accepted: 20, copies: 2 })
    const upload = Buffer.from('some code '.repeat(100_000))
    const response = await here.client().raw('blobs.create', {}, upload)
    expect(await response.json()).toMatchObject({
      sha256: createHash('sha256').update(upload).digest('hex'),
      copies: 2,
    })
    const events = await eventCodes(here, first.id)

    await Promise.all(here.agents.map((agent) => agent.kill()))
    await Promise.all(here.agents.map((agent) => agent.start()))

    await here.ready()
    expect(await here.get(first.id)).toEqual(first)
    expect(await eventCodes(here, first.id)).toEqual(events)
    expect(await here.logOf(first.id)).toEqual(numbers(5))
    const params = { experiment: first.id, task: `${first.id}-worker-0`, path: 'end.txt' }
    expect(await (await here.client().raw('experiments.artifact', { params })).text()).toBe('done\n')
    const { series } = await here.client().call('experiments.metrics', { params: { experiment: running.id } })
    expect(series[0]?.points).toHaveLength(20)
    const done = await here.ended(running.id)
    expect(done).toMatchObject({ state: 'Succeeded', tasks: [{ attempt: 1 }] })
    expect(await here.logOf(running.id)).toEqual(numbers(100))
  })

  it('of the leader under a POST that is retried with its key: one experiment', async () => {
    const here = (lab = await Lab.start())
    for (const round of [1, 2, 3]) {
      const leader = await here.leader()
      const submit = () => here.submit(counting(1, `once-${round}`), { 'idempotency-key': `round-${round}` })
      // Sent at the leader's death and, whatever became of it, once more.
      const [first] = await Promise.allSettled([submit(), leader.kill()])
      const second = await submit()
      if (first.status === 'fulfilled') expect(first.value.id).toBe(second.id)
      await leader.start()
      const { items } = await here.client().call('experiments.list', { query: { name: `once-${round}` } })
      expect(items.map(({ id }) => id)).toEqual([second.id])
    }
  })
})

describe('a minority', () => {
  it('refuses writes, reads its own copy and says how old it is, runs its tasks on, and tells it all once', async () => {
    const here = (lab = await Lab.start())
    const first = await here.submit(counting(1))
    await here.ended(first.id)
    const { id } = await here.submit(counting(80, 'through-it'))
    const running = await here.until(id, ({ state }) => state === 'Running')
    const alone = here.agentOf(running.tasks[0]?.node ?? null)
    const others = here.agents.filter((agent) => agent !== alone)
    const cut = performance.now()
    await Promise.all(others.map((agent) => agent.kill()))
    const own = here.client(alone)
    const local = (path: string) =>
      fetch(`${alone.url}/api/v2${path}?consistency=local`, {
        headers: { authorization: `Bearer ${here.token}` },
      })
    // While it may still take itself for the leader's follower, the end of a write is open; then it is refused at once.
    await eventually('a write is refused as one that did not happen', async () => {
      const refused = await own
        .call('experiments.create', { body: counting(1, 'lost') })
        .catch((e: unknown) => e)
      return (
        refused instanceof ProblemError &&
        refused.code === 'no_leader' &&
        /no leader for \d+s: 2 of the 3/.test(refused.message)
      )
    })
    await expect(own.call('experiments.get', { params: { experiment: first.id } })).rejects.toMatchObject({
      status: 503,
      code: 'no_leader',
      hint: expect.stringContaining('consistency=local') as string,
    })
    const stale = await local(`/experiments/${first.id}`)
    expect([stale.status, stale.headers.get('submarine-consistency')]).toEqual([200, 'local'])
    const age = Number(stale.headers.get('submarine-age'))
    expect(age).toBeGreaterThanOrEqual(3)
    expect(age).toBeLessThanOrEqual(Math.ceil((performance.now() - cut) / 1000) + 3)
    expect(await (await local('/cluster')).json()).toMatchObject({
      leader: null,
      copy_age: expect.any(Number) as number,
    })
    const { stdout, stderr } = await cli(['experiment', 'get', first.id, '--local'], alone.url, here.token)
    expect(stdout).toContain('Succeeded')
    expect(stderr).toMatch(/^as of \d+s ago$/m)

    const [process] = await alone.processes()
    if (!process) throw new Error('expected the task to run as a process')
    await eventually('its task ends meanwhile', () => !isAlive(process))
    expect(((await (await local(`/experiments/${id}`)).json()) as Experiment).state).toBe('Running')
    await Promise.all(others.map((agent) => agent.start()))
    const done = await here.ended(id)
    expect(done).toMatchObject({ state: 'Succeeded', tasks: [{ attempt: 1, exit_code: 0 }] })
    // It ended when it did, not when the others heard of it.
    const codes = await eventCodes(here, id)
    expect(codes.filter((code) => code === 'task.succeeded')).toHaveLength(1)
    expect(codes.filter((code) => code === 'task.placed')).toHaveLength(1)
    expect(await here.logOf(id)).toEqual(numbers(80))
    const { items } = await here.client().call('experiments.list', { query: { name: 'lost' } })
    // Those whose end was open may have happened; none of them twice.
    expect(new Set(items.map((each) => each.id)).size).toBe(items.length)
    await eventually(
      'its own copy is new again',
      async () => Number((await local('/nodes')).headers.get('submarine-age')) <= 2,
    )
  })
})

describe('new addresses', () => {
  it('of one host are found again by its own reconnect', async () => {
    const here = (lab = await Lab.start())
    const [, two] = here.agents
    if (!two) throw new Error('expected a second agent')
    await two.kill()
    await here.newPorts([two])
    await two.start()
    await here.ready()
  })

  it('of all hosts at once are repaired by set-peer on one of them', async () => {
    const here = (lab = await Lab.start())
    const { id } = await here.submit(counting(1))
    await here.ended(id)
    for (const agent of here.agents) await agent.kill('SIGTERM')
    await here.newPorts()
    const [one, two, three] = here.agents
    if (!one || !two || !three) throw new Error('expected three agents')
    const { execFileSync } = await import('node:child_process')
    const peers = [two, three].map((agent, at) => `${at ? agent.name : agent.node}=127.0.0.1:${agent.tls}`)
    execFileSync(process.execPath, ['cli/index.ts', 'agent', 'set-peer', '--data', one.data, ...peers])
    await Promise.all(here.agents.map((agent) => agent.start()))
    const nodes = await here.ready()
    expect((await here.get(id)).state).toBe('Succeeded')
    await eventually('the state has the new addresses', async () => {
      const { items } = await here.client().call('nodes.list', {})
      return items.every((node) => node.address === `127.0.0.1:${here.agentOf(node.id).tls}`)
    })
    expect(nodes).toHaveLength(3)
  })
})
