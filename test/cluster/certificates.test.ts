import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { runCli } from '../../cli/testing/run-cli.ts'
import { certificatesIn, fingerprint } from '../../agent/cluster/identity/ca.ts'
import { faketime, needs } from '../setup/needs.ts'
import { type Agent, eventually, Lab, password } from './lab.ts'

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

/** The fingerprints of what an agent trusts, as it lies on its disk. */
const trusted = async ({ data }: Agent) =>
  certificatesIn(await readFile(join(data, 'tls', 'ca.pem'), 'utf8')).map(fingerprint)

/** Who answers there is known by this authority. */
async function isKnownBy(ca: string, { tls }: Agent): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port: tls, ca, checkServerIdentity: () => undefined })
  try {
    await once(socket, 'secureConnect')
    return socket.authorized
  } finally {
    socket.destroy()
  }
}

describe('the certificate authority', () => {
  it('is replaced while work goes on; a host that was off meanwhile comes back by its key', async () => {
    const here = (lab = await Lab.start())
    await here.ready()
    const [away, ...others] = here.agents.toReversed() as [Agent, ...Agent[]]
    const old = await readFile(join(away.data, 'tls', 'ca.pem'), 'utf8')
    const config = join(here.folder, 'config.json')
    const cli = (args: string[], input = '') => runCli(args, { env: { SUBMARINE_CONFIG: config }, input })
    const known = ['--trust-fingerprint', fingerprint(old), '--password-stdin']
    expect(await cli(['login', `https://127.0.0.1:${away.tls}`, ...known], `${password}\n`)).toMatchObject({
      code: 0,
    })
    expect((await cli(['cluster', 'rotate-ca'])).stdout).toContain(
      'The old one counts until all nodes have new certificates',
    )
    await eventually('all have new certificates', async () => {
      const { items } = await here.client().call('events.list', {})
      return items.some(({ code }) => code === 'cluster.ca_retired')
    })
    // The next command finds the agents by the old one, and takes the new one over; the one after it knows nothing else.
    expect(await cli(['node', 'list'])).toMatchObject({ code: 0 })
    const pinned = JSON.parse(await readFile(config, 'utf8')) as { contexts: { ca: string }[] }
    expect(pinned.contexts.map(({ ca }) => fingerprint(ca))).not.toEqual([fingerprint(old)])
    expect(await cli(['node', 'list'])).toMatchObject({ code: 0 })
    await away.kill()
    const made = await here.client().call('cluster.rotate_ca', {})
    expect(made.waiting).toContain(away.name)
    const only = [made.ca_sha256]
    await eventually('it alone is waited for', async () => {
      const { warnings } = await here.client().call('cluster.get', {})
      return warnings.some((text) => text.includes(`counts: ${away.name} will have a new certificate`))
    })
    expect(await here.client().call('cluster.finish_ca', {})).toMatchObject({ former_sha256: null })
    await eventually('the old one is off their disks', async () => {
      const found = await Promise.all(others.map(trusted))
      return found.every((one) => one.join() === only.join())
    })
    await away.start()
    await here.ready()
    await eventually('it has moved too', async () => (await trusted(away)).join() === only.join())
    for (const agent of here.agents) expect(await isKnownBy(old, agent)).toBe(true)
    const { id } = await here.submit({ name: 'after', command: 'echo done', resources: 'cpu=0.5, memory=64Mi' }) // prettier-ignore
    expect((await here.ended(id)).state).toBe('Succeeded')
    for (const agent of here.agents) await agent.kill()
    for (const agent of here.agents) await agent.start()
    await here.ready()
  })
})

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
