import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ProblemError } from '../../contract/index.ts'
import { Lab } from './lab.ts'

let lab: Lab
beforeAll(async () => {
  lab = await Lab.start()
})
afterAll(() => lab.stop())

const script = (command: string, name = 'script') => ({ name, command, resources: 'cpu=0.5, memory=64Mi' })

describe('three agents', () => {
  it('are one group with three voters, whichever is asked', async () => {
    for (const agent of lab.agents) {
      const cluster = await lab.client(agent).call('cluster.get', {})
      expect(cluster).toMatchObject({ name: 'lab', voters: 3, may_fail: 1 })
      expect(cluster.members.map(({ name, role }) => [name, role])).toEqual([
        ['host-1', 'voter'],
        ['host-2', 'voter'],
        ['host-3', 'voter'],
      ])
    }
  })

  it('read what was just written, whichever is asked', async () => {
    const [one, two, three] = lab.agents
    const { id } = await lab.client(one).call('experiments.create', { body: script('true') })
    for (const agent of [two, three])
      expect((await lab.client(agent).call('experiments.get', { params: { experiment: id } })).id).toBe(id)
    await lab.ended(id)
  })

  it('run a script and keep its log, its points and its files on two nodes', async () => {
    const python = [
      'import json, os, urllib.request',
      'print("hello from", os.environ["SUBMARINE_TASK"])',
      'points = [{"key": "loss", "value": 1 / (step + 1), "step": step} for step in range(5)] + [{"key": "odd", "value": "NaN"}]',
      'request = urllib.request.Request(os.environ["SUBMARINE_API"] + "/api/v2/experiments/" + os.environ["SUBMARINE_EXPERIMENT_ID"] + "/metrics",',
      '  json.dumps({"points": points}).encode(), {"Authorization": "Bearer " + os.environ["SUBMARINE_TOKEN"], "Content-Type": "application/json"})',
      'import ssl; context = ssl.create_default_context(cafile=os.environ["SUBMARINE_CA"]) if os.environ.get("SUBMARINE_CA") else None',
      'print(urllib.request.urlopen(request, context=context).read().decode())',
      'os.makedirs(os.environ["SUBMARINE_OUTPUT"] + "/sub", exist_ok=True)',
      'open(os.environ["SUBMARINE_OUTPUT"] + "/sub/model.txt", "w").write("weights")',
    ].join('\n')
    const { id } = await lab.submit({
      name: 'whole',
      command: ['python3', '-c', python],
      resources: 'cpu=1, memory=64Mi',
    })
    const done = await lab.ended(id)
    expect(done, JSON.stringify(await lab.logOf(id))).toMatchObject({ state: 'Succeeded', reason: null })
    expect(done.tasks[0]).toMatchObject({
      exit_code: 0,
      runtime: 'process',
      isolation: 'none',
      artifacts: { files: 1, bytes: 7, copies: 2 },
      log: { copies: 2 },
    })
    const log = await lab.logOf(id)
    expect(log[0]).toBe(`hello from ${id}-worker-0`)
    expect(JSON.parse(log[1] ?? '')).toEqual({ accepted: 6, copies: 2 })
    const { series } = await lab.client().call('experiments.metrics', { params: { experiment: id } })
    expect(series.map(({ key, points }) => [key, points.map(([step, value]) => [step, value])])).toEqual([
      ['loss', [[0, 1], [1, 1 / 2], [2, 1 / 3], [3, 1 / 4], [4, 1 / 5]]],
      ['odd', [[0, 'NaN']]],
    ]) // prettier-ignore
    for (const agent of lab.agents) {
      const params = { experiment: id, task: `${id}-worker-0`, path: 'sub/model.txt' }
      expect(await (await lab.client(agent).raw('experiments.artifact', { params })).text()).toBe('weights')
    }
  })

  it('tell why an experiment failed', async () => {
    const { id } = await lab.submit(script('echo oh no >&2; exit 3'))
    const done = await lab.ended(id)
    expect(done).toMatchObject({ state: 'Failed', reason: { code: 'exit_code' } })
    expect(done.tasks[0]?.exit_code).toBe(3)
    expect(done.reason?.message).toContain('3')
    expect(await lab.logOf(id)).toEqual(['oh no'])
  })

  it('end what runs past its timeout, and stop what is asked to stop', async () => {
    const late = await lab.submit({ ...script('sleep 600', 'late'), timeout: '2s' })
    const stopped = await lab.submit(script('sleep 600', 'stopped'))
    await lab.until(stopped.id, ({ state }) => state === 'Running')
    await lab.client().call('experiments.stop', { params: { experiment: stopped.id } })
    expect(await lab.ended(stopped.id)).toMatchObject({ state: 'Stopped' })
    expect(await lab.ended(late.id)).toMatchObject({ state: 'Failed', reason: { code: 'timeout' } })
  })

  it('queue what does not fit now, say why, and run it when there is room', async () => {
    const whole = { command: 'sleep 600', resources: 'cpu=2, memory=64Mi' }
    const holders = []
    for (const n of [1, 2, 3]) holders.push((await lab.submit({ ...whole, name: `holder-${n}` })).id)
    for (const id of holders) await lab.until(id, ({ state }) => state === 'Running')
    const waiting = await lab.submit({ ...whole, name: 'waiting', command: 'true' })
    const queued = await lab.until(waiting.id, ({ state }) => state === 'Queued')
    expect(queued.reason?.message).toMatch(/host-1: 2 cores asked, 0 cores free/)
    await lab.client().call('experiments.stop', { params: { experiment: holders[1] ?? '' } })
    expect((await lab.ended(waiting.id)).tasks[0]?.node).toBe('node-2')
    for (const id of [holders[0], holders[2]])
      await lab.client().call('experiments.stop', { params: { experiment: id ?? '' } })
    for (const id of holders) await lab.ended(id)
  })

  it('refuse at submit what no node could ever run', async () => {
    const refused = lab.submit({ ...script('true'), resources: 'cpu=64, memory=64Mi' })
    await expect(refused).rejects.toMatchObject({ code: 'never_fits' })
    await expect(refused).rejects.toBeInstanceOf(ProblemError)
  })

  it('place a gang whole', async () => {
    const { id } = await lab.submit({
      name: 'gang',
      command: 'echo $SUBMARINE_ROLE $SUBMARINE_INDEX',
      roles: { worker: { replicas: 3, resources: 'cpu=2, memory=64Mi' } },
    })
    const done = await lab.ended(id)
    expect(done.state).toBe('Succeeded')
    expect(new Set(done.tasks.map(({ node }) => node)).size).toBe(3)
    expect((await lab.logOf(id)).toSorted()).toEqual(['worker 0', 'worker 1', 'worker 2'])
  })

  it('serve the OpenAPI document and their version without a sign-in, and nothing else', async () => {
    const [agent] = lab.agents
    const get = (path: string) => fetch(`${agent?.url}/api/v2${path}`)
    expect(await (await get('/openapi.json')).json()).toMatchObject({ openapi: '3.1.0' })
    expect(await (await get('/version')).json()).toMatchObject({ cluster: { name: 'lab' } })
    expect((await get('/nodes')).status).toBe(401)
  })

  it('refuse a foreign Host and a foreign Origin', async () => {
    const [agent] = lab.agents
    const { request } = await import('node:http')
    const status = (headers: Record<string, string>, method = 'GET') =>
      new Promise<number | undefined>((resolve, reject) => {
        request(`${agent?.url}/api/v2/version`, { headers, method }, (response) =>
          resolve(response.resume().statusCode),
        )
          .on('error', reject)
          .end()
      })
    expect(await status({})).toBe(200)
    expect(await status({ host: 'evil.example' })).toBe(421)
    expect(await status({ origin: 'http://evil.example' }, 'POST')).toBe(403)
  })
})
