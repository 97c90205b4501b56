import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { findNode } from '../../cli/node24.js'
import { type Client, createClient, isFinal } from '../../contract/index.ts'
import { Agent, endTasksIn, eventually, Lab, password } from './lab.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
let lab: Lab | undefined
let others: Agent[] = []
afterEach(async () => {
  await Promise.all(others.map((agent) => agent.kill()))
  for (const agent of others) await endTasksIn(agent.data)
  others = []
  await lab?.stop()
  lab = undefined
})

interface Said {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** The command line, signed in at an agent. */
function submarine(at: { url: string; token: string } | undefined, ...args: string[]): Promise<Said> {
  const env = at ? { ...process.env, SUBMARINE_ADDRESS: at.url, SUBMARINE_TOKEN: at.token } : process.env
  return new Promise((resolve) => {
    execFile(findNode(), ['cli/index.ts', ...args], { cwd: root, env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

const counting = (to: number, name: string) => ({
  name,
  command: `i=1; while [ $i -le ${to} ]; do echo $i; i=$((i+1)); sleep 0.1; done`,
  resources: 'cpu=1, memory=64Mi',
})
const numbers = (to: number) => Array.from({ length: to }, (_, at) => String(at + 1))
const shareArgs = [
  '--share-cpu',
  '2',
  '--share-memory',
  String(1024 ** 3),
  '--no-docker',
  '--process-runtime',
]

/** An agent beside the lab's, with ports of its own. */
async function another(of: Lab, name: string, folder: string): Promise<Agent> {
  await mkdir(join(of.folder, folder), { recursive: true })
  const agent = new Agent(name, join(of.folder, folder), shareArgs)
  await of.newPorts([agent])
  others.push(agent)
  return agent
}

function clientOf(agent: Agent, token = ''): Client {
  return createClient((path, init) =>
    fetch(agent.url + path, {
      ...init,
      headers: {
        ...(init.headers as Record<string, string>),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
      },
    }),
  )
}

async function signIn(agent: Agent): Promise<{ client: Client; token: string }> {
  let token = ''
  await eventually('signed in', async () => {
    token = (
      await clientOf(agent)
        .call('session.create', { body: { user: 'admin', password } })
        .catch(() => ({ token: '' }))
    ).token
    return token
  })
  return { client: clientOf(agent, token), token }
}

async function runs(client: Client, name: string): Promise<void> {
  const { id } = await client.call('experiments.create', { body: counting(2, name) })
  await eventually(`${name} ends`, async () => {
    const { state } = await client.call('experiments.get', { params: { experiment: id } })
    if (isFinal(state)) expect(state).toBe('Succeeded')
    return isFinal(state)
  })
}

async function joinAll(client: Client, agents: readonly Agent[], voters: number): Promise<void> {
  for (const agent of agents) {
    const { token } = await client.call('joinTokens.create', {})
    await agent.start(['--join', token])
  }
  await eventually('the new members vote', async () => {
    const { items } = await client.call('nodes.list', {})
    const ready = items.filter(({ liveness, inventory }) => liveness === 'ready' && inventory)
    return (
      ready.length === agents.length + 1 && items.filter(({ role }) => role === 'voter').length === voters
    )
  })
}

describe('a backup', () => {
  it('taken under load is restored into a new cluster, which others join', async () => {
    const here = (lab = await Lab.start())
    const [one, two] = here.agents
    if (!one || !two) throw new Error('expected agents')
    const passphraseFile = join(here.folder, 'passphrase')
    await writeFile(passphraseFile, 'a long enough passphrase\n', { mode: 0o600 })
    const pass = ['--passphrase-file', passphraseFile]
    const done = await here.ended((await here.submit(counting(2, 'done'))).id)
    const running = await here.submit(counting(3000, 'running'))
    await here.until(running.id, ({ state }) => state === 'Running')

    const acknowledged: string[] = []
    let loaded = true
    const load = (async () => {
      while (loaded) {
        const { id } = await here.submit({ ...counting(1, 'waits'), resources: 'cpu=2, memory=64Mi' })
        acknowledged.push(id)
      }
    })()
    await eventually('some load', () => acknowledged.length > 5)
    const file = join(here.folder, 'lab.backup')
    const before = [...acknowledged]
    const at = { url: two.url, token: here.token }
    const taken = await submarine(at, 'cluster', 'backup', file, ...pass, '-o', 'json')
    loaded = false
    await load
    expect(taken.err).toContain('Logs, metrics, artifacts and uploaded code are not in it')
    expect(taken.code).toBe(0)
    expect(JSON.parse(taken.out)).toMatchObject({
      path: file,
      cluster: { name: 'lab' },
      contents: { users: 1, nodes: 3 },
    })
    expect((await stat(file)).mode & 0o077).toBe(0)
    expect((await readdir(here.folder)).filter((name) => name.endsWith('.tmp'))).toEqual([])
    expect((await submarine(undefined, 'cluster', 'backup', 'verify', file)).out).toContain('whole')
    expect((await submarine(undefined, 'cluster', 'backup', 'verify', file, ...pass)).out).toMatch(
      /1 user, 3 nodes/,
    )

    await Promise.all(here.agents.map((agent) => agent.kill()))
    const first = await another(here, 'host-1', 'restored')
    const restore = [
      'cluster',
      'restore',
      file,
      '--data',
      first.data,
      '--name',
      'host-1',
      '--advertise',
      `127.0.0.1:${first.tls}`,
    ]
    const restored = await submarine(undefined, ...restore, ...pass, '-o', 'json')
    expect(restored.err).toContain('Never start the old hosts')
    expect(restored.code).toBe(0)
    expect(JSON.parse(restored.out)).toMatchObject({
      node: 'node-4', lost_nodes: ['host-1', 'host-2', 'host-3'], failed_tasks: expect.arrayContaining([`${running.id}-worker-0`]), same_authority: true,
    }) // prettier-ignore
    expect((await submarine(undefined, ...restore, ...pass)).err).toContain('already belongs to a cluster')

    await first.start()
    const { client } = await signIn(first)
    // Who was signed in still is.
    expect(await clientOf(first, here.token).call('me.get', {})).toMatchObject({ name: 'admin' })
    const again = await client.call('experiments.get', { params: { experiment: done.id } })
    expect(again).toMatchObject({
      state: 'Succeeded',
      created_at: done.created_at,
      finished_at: done.finished_at,
    })
    expect(await client.call('experiments.get', { params: { experiment: running.id } })).toMatchObject({
      state: 'Failed', reason: { code: 'node_lost' }, tasks: [{ state: 'Failed' }],
    }) // prettier-ignore
    for (const experiment of before) await client.call('experiments.get', { params: { experiment } })
    const { items: events } = await client.call('events.list', { query: { page_size: 1000 } })
    expect(events.map(({ code }) => code)).toEqual(expect.arrayContaining(['cluster.created', 'cluster.restored', 'node.lost', 'task.failed'])) // prettier-ignore
    expect((await client.call('nodes.list', {})).items.map(({ id }) => id)).toEqual(['node-4'])
    for (const experiment of before)
      await client.call('experiments.stop', { params: { experiment } }).catch(() => undefined)

    await joinAll(
      client,
      [await another(here, 'host-2', 'restored'), await another(here, 'host-3', 'restored')],
      3,
    )
    await runs(client, 'after')

    // A member of the old cluster finds the new one, and is not let in.
    await submarine(undefined, 'agent', 'set-peer', '--data', two.data, `node-1=127.0.0.1:${first.tls}`)
    await two.start()
    await eventually('the old member is refused', async () =>
      (await two.log()).includes('it belongs to another cluster'),
    )
    expect((await client.call('cluster.get', {})).members.map(({ node }) => node)).toEqual([
      'node-4',
      'node-5',
      'node-6',
    ])
  }, 240_000)

  it('that is damaged, cut off, something else or sealed by another passphrase is refused in words', async () => {
    const here = (lab = await Lab.start({ agents: 1 }))
    const [agent] = here.agents
    if (!agent) throw new Error('expected an agent')
    const at = { url: agent.url, token: here.token }
    const file = join(here.folder, 'a.backup')
    const [right, wrong] = [join(here.folder, 'right'), join(here.folder, 'wrong')]
    await writeFile(right, 'the right passphrase\n', { mode: 0o600 })
    await writeFile(wrong, 'another passphrase\n', { mode: 0o600 })
    const asked = await submarine(at, 'cluster', 'backup', file)
    expect(asked).toMatchObject({ code: 2 })
    expect(asked.err).toContain('--passphrase-file')
    expect(
      (await submarine({ ...at, token: 'sdc_nobody' }, 'cluster', 'backup', file, '--passphrase-file', right))
        .code,
    ).toBe(4)
    expect((await submarine(at, 'cluster', 'backup', file, '--passphrase-file', right)).code).toBe(0)
    const again = await submarine(at, 'cluster', 'backup', file, '--passphrase-file', right)
    expect(again).toMatchObject({ code: 2, err: expect.stringContaining('is there already') as string })
    const open = join(here.folder, 'open')
    await writeFile(open, 'the right passphrase\n', { mode: 0o644 })
    const seen = await submarine(at, 'cluster', 'backup', 'verify', file, '--passphrase-file', open)
    expect(seen).toMatchObject({ code: 2, err: expect.stringContaining('other people may read') as string })
    const bytes = await readFile(file)
    expect(bytes.includes('admin')).toBe(false)

    const data = join(here.folder, 'new')
    const restore = async (name: string, content: Uint8Array | undefined, pass = right) => {
      const path = join(here.folder, name)
      if (content) await writeFile(path, content)
      return submarine(undefined, 'cluster', 'restore', path, '--data', data, '--passphrase-file', pass)
    }
    const flipped = Buffer.from(bytes)
    flipped.writeUInt8(flipped.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1)
    expect((await restore('flipped', flipped)).err).toMatch(/damaged, its checksum is not right/)
    expect((await restore('cut', bytes.subarray(0, bytes.length - 100))).err).toMatch(
      /cut off, its end is missing/,
    )
    expect((await restore('foreign', Buffer.from('not a backup at all, but a file'))).err).toMatch(
      /no backup of a cluster/,
    )
    expect((await restore('nowhere', undefined)).err).toMatch(/cannot read/)
    expect((await restore('sealed', bytes, wrong)).err).toMatch(/passphrase does not open/)
    expect(await readdir(data).catch(() => 'nothing')).toBe('nothing')
  }, 120_000)
})

describe('recovery from one host', () => {
  it('when two of three voters are gone for good: its tasks go on, the others join anew', async () => {
    const here = (lab = await Lab.start())
    const done = await here.ended((await here.submit(counting(2, 'done'))).id)
    const running = await here.submit(counting(150, 'running'))
    const placed = await here.until(running.id, ({ state }) => state === 'Running')
    const survivor = here.agentOf(placed.tasks[0]?.node ?? null)
    const recover = ['cluster', 'recover', '--from-data', survivor.data, '--yes']
    expect((await submarine(undefined, ...recover)).err).toMatch(/in use|runs/)
    for (const agent of here.agents) {
      await agent.kill()
      if (agent !== survivor) await rm(agent.data, { recursive: true })
    }

    const undecided = await submarine(undefined, ...recover.slice(0, -1))
    expect(undecided).toMatchObject({ code: 2 })
    const recovered = await submarine(undefined, ...recover)
    expect(recovered.code).toBe(0)
    expect(recovered.err).toContain('What may be lost')
    expect(recovered.out).toContain('node-4')
    expect(await submarine(undefined, ...recover)).toMatchObject({
      code: 5,
      err: expect.stringContaining('is the only member of lab already') as string,
    })
    await survivor.start()
    const { client } = await signIn(survivor)
    expect(await client.call('experiments.get', { params: { experiment: done.id } })).toMatchObject({
      state: 'Succeeded',
    })
    await eventually('what ran here has ended', async () => {
      const { state } = await client.call('experiments.get', { params: { experiment: running.id } })
      if (isFinal(state)) expect(state).toBe('Succeeded')
      return isFinal(state)
    })
    const lines: string[] = []
    for await (const { data } of client.events('experiments.logs', { params: { experiment: running.id } }))
      lines.push(data.text)
    expect(lines).toEqual(numbers(150))

    const gone = here.agents.filter((agent) => agent !== survivor)
    await joinAll(client, gone, 3)
    await runs(client, 'after')
    await survivor.kill()
    const { client: other } = await signIn(gone[0] ?? survivor)
    expect(await other.call('experiments.get', { params: { experiment: done.id } })).toMatchObject({
      state: 'Succeeded',
    })
  }, 240_000)

  it('also from a learner, which has no key: the cluster gets a new authority', async () => {
    const here = (lab = await Lab.start({ agents: 2 }))
    const [voter, learner] = here.agents
    if (!voter || !learner) throw new Error('expected two agents')
    const { ca_sha256 } = await here.client().call('version.get', {})
    const done = await here.ended((await here.submit(counting(2, 'done'))).id)
    await eventually('the learner has it too', async () => {
      const path = `/api/v2/experiments/${done.id}?consistency=local`
      const copy = await fetch(learner.url + path, { headers: { authorization: `Bearer ${here.token}` } })
      return copy.ok && isFinal(((await copy.json()) as { state: typeof done.state }).state)
    })
    await Promise.all([voter.kill(), learner.kill()])
    await rm(voter.data, { recursive: true })
    const recovered = await submarine(undefined, 'cluster', 'recover', '--from-data', learner.data, '--yes')
    expect(recovered.err).toContain('new authority')
    expect(recovered.code).toBe(0)
    await learner.start()
    const { client } = await signIn(learner)
    expect((await client.call('version.get', {})).ca_sha256).not.toBe(ca_sha256)
    await joinAll(client, [voter], 1)
    await runs(client, 'after')
  }, 240_000)
})
