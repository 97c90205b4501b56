import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { makeAuthority } from '../../cli/testing/certificates.ts'
import { DoubleAgent } from '../../cli/testing/double-agent.ts'
import { DoubleCluster } from '../../cli/testing/double-cluster.ts'
import type { Handlers } from '../bridge/serve.ts'
import { createConnections, learnMembers } from './connections.ts'
import { CurrentCluster } from './current-cluster.ts'
import { type Profile, ProfileStore } from './profiles.ts'

let folder: string
let doubles: DoubleCluster
let store: ProfileStore
let cluster: CurrentCluster
let bridge: Handlers
let links: string[]
const file = () => path.join(folder, 'data', 'connections.json')
const origin = (i = 0) => doubles.agents[i]?.origin ?? ''

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-desktop-'))
  doubles = new DoubleCluster(await makeAuthority())
  await DoubleAgent.start(doubles)
  await DoubleAgent.start(doubles)
  store = await ProfileStore.open(file())
  cluster = new CurrentCluster()
  links = []
  bridge = createConnections(store, cluster, {
    confirmLink: (url) => Promise.resolve(url.includes('yes')),
    openLink: (url) => Promise.resolve(void links.push(url)),
  })
})
afterEach(async () => {
  await cluster.show(undefined)
  doubles.agents.forEach((agent) => agent.kill())
  await rm(folder, { recursive: true, force: true })
})

const fingerprint = () => doubles.authority?.sha256 ?? ''
const add = () => bridge['connections.add']({ address: origin(), fingerprint: fingerprint() })

describe('connections', () => {
  it('are shown before they are trusted, and kept once the fingerprint is confirmed', async () => {
    const found = await bridge['connections.inspect']({ address: origin() })
    expect(found).toMatchObject({ cluster: 'lab', fingerprint: fingerprint(), address: origin() })
    expect(store.all).toEqual([])
    const { connections } = await add()
    expect(connections).toMatchObject([{ id: 'c1', name: 'lab', current: true }])
    expect(JSON.stringify(connections)).not.toContain('CERTIFICATE')
    expect(cluster.profile?.ca).toContain('BEGIN CERTIFICATE')
    expect((await stat(file())).mode & 0o777).toBe(0o600)
    expect((await ProfileStore.open(file())).current).toEqual(store.current)
  })

  it('are refused when the agent shows another certificate than the confirmed one', async () => {
    const wrong = bridge['connections.add']({ address: origin(), fingerprint: 'ab'.repeat(32) })
    await expect(wrong).rejects.toMatchObject({ code: 'bad_credentials' })
    expect(store.all).toEqual([])
  })

  it('learn all agents after a sign-in, without ever writing the token', async () => {
    await add()
    cluster.signedIn('known-token')
    await learnMembers(store, cluster)
    expect(store.current?.addresses).toEqual([origin(0), origin(1)])
    expect(await readFile(file(), 'utf8')).not.toContain('known-token')
  })

  it('follow the cluster to the authority that took the place of the confirmed one, and not back', async () => {
    await add()
    cluster.signedIn('known-token')
    const next = await makeAuthority('test cluster', Date.now() - 30_000)
    doubles.replacement = next
    await learnMembers(store, cluster)
    expect(store.current).toMatchObject({ ca: `${next.ca}\n`, fingerprint: next.sha256 })
    await cluster.show({ ...(store.current as Profile), ca: doubles.authority?.ca })
    doubles.replacement = await makeAuthority('test cluster', Date.now() - 90_000)
    await learnMembers(store, cluster)
    expect(store.current?.fingerprint).not.toBe(doubles.replacement.sha256)
  })

  it('are switched and forgotten', async () => {
    await add()
    await store.put({ id: 'c2', name: 'other', addresses: ['https://10.0.0.9:7460'] }, false)
    expect((await bridge['connections.use']({ id: 'c2' })).connections).toMatchObject([
      { id: 'c1', current: false },
      { id: 'c2', current: true },
    ])
    await expect(bridge['connections.use']({ id: 'c3' })).rejects.toMatchObject({ code: 'not_found' })
    expect((await bridge['connections.remove']({ id: 'c2' })).connections).toMatchObject([{ id: 'c1' }])
    expect([cluster.profile, store.current]).toEqual([undefined, undefined])
  })

  it.each(['http://192.0.2.1', 'https://lab/path', '', 'https://a:b@lab'])('refuse %j', async (address) => {
    await expect(bridge['connections.inspect']({ address })).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  it('set a damaged file aside instead of writing over it', async () => {
    await add()
    await writeFile(file(), '{"version":1')
    expect((await ProfileStore.open(file())).all).toEqual([])
    expect(await readdir(path.dirname(file()))).toEqual(['connections.json.damaged'])
  })
})

describe('links', () => {
  it('open outside only when they lead to the cluster and a person said yes', async () => {
    await add()
    const open = (url: string) => bridge['links.open']({ url })
    expect(await open('https://127.0.0.1:7461/yes')).toEqual({ opened: true })
    expect(await open('https://127.0.0.1:7461/no')).toEqual({ opened: false })
    for (const url of ['https://127.0.0.1.evil.example/yes', 'http://127.0.0.1/yes', 'file:///etc/yes'])
      await expect(open(url)).rejects.toMatchObject({ code: 'forbidden' })
    expect(links).toEqual(['https://127.0.0.1:7461/yes'])
  })
})
