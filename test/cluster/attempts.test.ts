import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { Experiment, ExperimentInput } from '../../contract/index.ts'
import { faketime, needs } from '../setup/needs.ts'
import { eventually, Lab } from './lab.ts'

let lab: Lab | undefined
afterEach(async () => {
  await lab?.stop()
  lab = undefined
})

const shell = (name: string, script: string, more: Partial<ExperimentInput> = {}): ExperimentInput => ({
  name,
  command: ['sh', '-c', script],
  resources: 'cpu=0.5, memory=64Mi',
  ...more,
})
/** Ends of its own on SIGTERM; `sleep` in the background, so that the shell hears the signal at once. */
const patient = (onTerm: string) => `trap '${onTerm}; exit 0' TERM; sleep 600 & wait`

const running = (experiment: Experiment) => experiment.tasks.every(({ state }) => state === 'Running')
const codesOf = async (of: Lab, id: string) => {
  const { items } = await of.client().call('experiments.events', { params: { experiment: id } })
  return items.map(({ code }) => code)
}

describe('a task that fails', () => {
  it('is tried again after pauses that double; every attempt and its log stay to be seen', async () => {
    const here = (lab = await Lab.start({ agents: 1 }))
    const script = 'echo attempt $SUBMARINE_ATTEMPT; [ $SUBMARINE_ATTEMPT = 3 ]'
    const retries = { limit: 3, backoff: 1, max_backoff: 60 }
    const { id } = await here.submit(shell('again', script, { retries }))
    const { state, tasks } = await here.ended(id)
    expect(state).toBe('Succeeded')
    const [task] = tasks
    expect(task).toMatchObject({ attempt: 3, retried: 2, exit_code: 0 })
    expect(task?.past).toMatchObject([
      { attempt: 1, exit_code: 1, reason: { code: 'retry' } },
      { attempt: 2, exit_code: 1, reason: { code: 'retry' } },
    ])
    const { items } = await here.client().call('experiments.events', { params: { experiment: id } })
    const times = (code: string) => items.filter((e) => e.code === code).map((e) => Date.parse(e.at))
    const [queued, placed] = [times('task.queued'), times('task.placed').slice(1)]
    // The second pause is twice the first.
    expect(queued.map((at, n) => (placed[n] ?? 0) - at >= 1000 * 2 ** n)).toEqual([true, true])
    for (const attempt of [1, 2, 3]) expect(await here.logOf(id, { attempt })).toEqual([`attempt ${attempt}`])
  })

  it('takes its gang along: all start again together', async () => {
    const here = (lab = await Lab.start({ agents: 1 }))
    const script = '[ $SUBMARINE_ATTEMPT = 2 ] && exit 0; [ $SUBMARINE_INDEX = 1 ] && exit 9; exec sleep 600'
    const roles = { worker: { replicas: 3 } }
    const { id } = await here.submit(
      shell('gang', script, { roles, retries: { limit: 1, backoff: 0 }, grace: 1 }),
    )
    const { state, tasks } = await here.ended(id)
    expect(state).toBe('Succeeded')
    expect(tasks.map(({ attempt, retried }) => [attempt, retried])).toEqual([[2, 1], [2, 1], [2, 1]]) // prettier-ignore
    expect(tasks.map(({ past }) => past?.[0]?.reason?.code)).toEqual([
      'peer_retried',
      'retry',
      'peer_retried',
    ])
  })
})

describe('a task array', () => {
  it('runs so many at once, goes on past what fails, and has failed when one has', async () => {
    const here = (lab = await Lab.start({ agents: 1, cpu: 8 }))
    const script = 'echo $SUBMARINE_ARRAY_INDEX; sleep 0.3; [ $SUBMARINE_ARRAY_INDEX != 12 ]'
    const { id } = await here.submit(shell('array', script, { array: '10-15%2' }))
    let most = 0
    const { state, reason, tasks } = await here.until(id, (now) => {
      most = Math.max(most, now.tasks.filter((t) => t.state === 'Starting' || t.state === 'Running').length)
      return now.state === 'Failed' || now.state === 'Succeeded'
    })
    expect(most).toBeLessThanOrEqual(2)
    expect([state, reason?.code]).toEqual(['Failed', 'exit_code'])
    expect(tasks.map((task) => [task.array_index, task.state])).toEqual([
      [10, 'Succeeded'], [11, 'Succeeded'], [12, 'Failed'], [13, 'Succeeded'], [14, 'Succeeded'], [15, 'Succeeded'],
    ]) // prettier-ignore
    expect((await here.logOf(id)).toSorted()).toEqual(['10', '11', '12', '13', '14', '15'])
  })
})

describe('a node', () => {
  it('that is cordoned takes nothing new, and that is drained gives what it runs to others', async () => {
    const here = (lab = await Lab.start())
    const client = here.client()
    const { id } = await here.submit(shell('moves', patient('echo saved'), { grace: 20 }))
    const before = await here.until(id, running)
    const from = here.agentOf(before.tasks[0]?.node ?? null)
    await here.until(id, running)
    const params = { node: from.name }
    const drained = await client.call('nodes.drain', { params, body: { reason: 'new fans' } })
    expect(drained.cordon).toMatchObject({ by: 'admin', reason: 'new fans', drain: { grace_seconds: null } })
    const after = await here.until(id, (now) => running(now) && now.tasks[0]?.attempt === 2)
    expect(after.tasks[0]?.node).not.toBe(from.node)
    expect(after.tasks[0]).toMatchObject({ retried: 0, past: [{ attempt: 1, reason: { code: 'drained' } }] })
    expect(await here.logOf(id, { attempt: 1 })).toEqual(['saved'])
    await eventually('it is told that the node is empty', async () => {
      const { items } = await client.call('events.list', {})
      return items.some(({ code, subject }) => code === 'node.drained' && subject.id === from.node)
    })
    // What still waits goes anywhere else, until it takes new work again.
    const full = shell('full', 'sleep 600', {
      resources: 'cpu=1.5, memory=64Mi',
      roles: { worker: { replicas: 3 } },
    })
    const waiting = await here.submit(full)
    await here.until(waiting.id, ({ state }) => state === 'Queued')
    await client.call('nodes.uncordon', { params })
    const placed = await here.until(waiting.id, running)
    expect(placed.tasks.map(({ node }) => node)).toContain(from.node)
  })

  it('is renamed and labelled, and hands its vote on before it is switched off', async () => {
    const here = (lab = await Lab.start({ agents: 4 }))
    const client = here.client()
    const leader = await here.leader()
    const params = { node: leader.node }
    const body = { name: 'old-box', labels: { zone: 'a', gone: null } }
    expect(await client.call('nodes.edit', { params, body })).toMatchObject({
      name: 'old-box',
      labels: { zone: 'a' },
    })
    const taken = here.agents.find((agent) => agent !== leader)?.name
    await expect(client.call('nodes.edit', { params, body: { name: taken } })).rejects.toMatchObject({
      code: 'already_exists',
    })
    await client.call('nodes.drain', { params: { node: 'old-box' }, body: { power_off: true } })
    await eventually('another leads, and it does not vote', async () => {
      const { leader: now, members } = await client.call('cluster.get', {})
      const roles = members
        .map(({ node, role }) => `${node === leader.node ? 'it' : 'other'} ${role}`)
        .toSorted()
      return (
        now !== null &&
        now !== leader.node &&
        roles.join() === 'it learner,other voter,other voter,other voter'
      )
    })
    await leader.kill()
    await client.call('nodes.get', { params: { node: leader.node } })
  })
})

describe('a higher class', needs.faketime, () => {
  it('takes the place of a lower one, which saves its state on SIGTERM and goes on from it', async () => {
    const clock = join(tmpdir(), `submarine-clock-${process.pid}`)
    await writeFile(clock, '+0')
    const fake = { LD_PRELOAD: faketime, FAKETIME_TIMESTAMP_FILE: clock, FAKETIME_CACHE_DURATION: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' } // prettier-ignore
    const here = (lab = await Lab.start({ agents: 1, cpu: 1, env: fake }))
    const script = `echo have $(cat "$SUBMARINE_OUTPUT/step" 2>/dev/null); ${patient('echo 7 > "$SUBMARINE_OUTPUT/step"')}`
    const low = shell('low', script, { resources: 'cpu=1, memory=64Mi', priority: 'low', grace: 20 })
    const victim = await here.submit(low)
    await here.until(victim.id, running)
    // It is not taken from one that began only now.
    await writeFile(clock, '+11m')
    const high = shell('high', 'echo mine', { resources: 'cpu=1, memory=64Mi', priority: 'high' })
    const { id } = await here.submit(high)
    expect((await here.ended(id)).state).toBe('Succeeded')
    const back = await here.until(victim.id, (now) => running(now) && now.tasks[0]?.attempt === 2)
    expect(back.tasks[0]).toMatchObject({ retried: 0, past: [{ reason: { code: 'preempted' } }] })
    expect(await codesOf(here, victim.id)).toContain('experiment.preempted')
    await eventually('it goes on from what it saved', async () =>
      (await here.logOf(victim.id, { attempt: 2 })).includes('have 7'),
    )
  })
})
