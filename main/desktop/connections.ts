import { X509Certificate } from 'node:crypto'
import { type Client, createClient } from '../../contract/client.ts'
import type { Version } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import type { Handlers } from '../bridge/serve.ts'
import { originOf } from './address.ts'
import type { CurrentCluster } from './current-cluster.ts'
import type { Profile, ProfileStore } from './profiles.ts'
import { fetchUnverifiedAuthority, readAuthority } from './trust.ts'
import { Upstream } from './upstream.ts'
import { allowsLink } from './window-policy.ts'

/** What of the operating system the bridge needs. */
export interface Desk {
  /** Shows the whole address and asks whether to open it. */
  confirmLink(url: string): Promise<boolean>
  openLink(url: string): Promise<void>
}

/** The bridge's side of connections: find a cluster, have its fingerprint confirmed, keep it, switch. */
export function createConnections(store: ProfileStore, cluster: CurrentCluster, desk: Desk): Handlers {
  const listed = () => ({ connections: store.all.map((p) => shown(p, store.current)) })
  return {
    'connections.list': () => Promise.resolve(listed()),
    'connections.inspect': async ({ address }) => {
      const origin = originOf(address)
      const { pem, fingerprint } = await fetchUnverifiedAuthority(origin)
      const version = await readVersion({ addresses: [origin], ca: pem })
      return { address: origin, cluster: version.cluster.name, version: version.version, fingerprint }
    },
    'connections.add': async ({ address, fingerprint }) => {
      const origin = originOf(address)
      const authority = await fetchUnverifiedAuthority(origin)
      if (authority.fingerprint !== fingerprint) throw otherFingerprint()
      const version = await readVersion({ addresses: [origin], ca: authority.pem })
      if (version.ca_sha256 !== fingerprint) throw otherFingerprint()
      const { id, name } = version.cluster
      await store.put({ id, name, addresses: [origin], ca: authority.pem, fingerprint }, true)
      await cluster.show(store.current)
      return listed()
    },
    'connections.use': async ({ id }) => {
      if (!(await store.use(id))) throw new ProblemError('not_found', 'no such connection')
      await cluster.show(store.current)
      return listed()
    },
    'connections.remove': async ({ id }) => {
      const wasCurrent = store.current?.id === id
      await store.remove(id)
      cluster.forget(id)
      if (wasCurrent) await cluster.show(undefined)
      return listed()
    },
    'links.open': async ({ url }) => {
      if (!allowsLink(url, cluster.upstream?.addresses ?? []))
        throw new ProblemError('forbidden', 'only links to hosts of this cluster are opened', { hint: '' })
      const opened = await desk.confirmLink(url)
      if (opened) await desk.openLink(url)
      return { opened }
    },
  }
}

const shown = ({ id, name, addresses, fingerprint }: Profile, current: Profile | undefined) => ({
  id,
  name,
  addresses,
  ...(fingerprint ? { fingerprint } : {}),
  current: current?.id === id,
})

const otherFingerprint = () =>
  new ProblemError('bad_credentials', 'the agent shows another CA certificate than the confirmed one', {
    hint: 'Somebody may stand between you and the cluster. Ask an admin for the right fingerprint.',
  })

async function readVersion(profile: Pick<Profile, 'addresses' | 'ca'>): Promise<Version> {
  const upstream = new Upstream(profile, 0)
  try {
    return await clientOf(upstream).call('version.get', {})
  } finally {
    await upstream.close()
  }
}

/** After a sign-in: keep all agents' addresses, so that the next start finds one that runs. */
export async function learnMembers(store: ProfileStore, cluster: CurrentCluster): Promise<void> {
  const { upstream, profile, token } = cluster
  if (!upstream || !profile) return
  const client = clientOf(upstream, token)
  const { members } = await client.call('cluster.get', { query: { consistency: 'local' } })
  upstream.learn(members.map((m) => originOf(`https://${m.address}`)))
  const authority = await presentAuthority(client, profile)
  await store.put({ ...profile, ...authority, addresses: [...upstream.addresses] }, true)
}

/**
 * Where the cluster's authority was replaced, the connection that the known one still vouches for says by which: from the
 * next start on that one is trusted, and the old one no more.
 */
async function presentAuthority(
  client: Client,
  { ca, fingerprint }: Profile,
): Promise<Pick<Profile, 'ca' | 'fingerprint'>> {
  if (ca === undefined) return {}
  const { ca_sha256 } = await client.call('version.get', {})
  if (ca_sha256 === fingerprint) return {}
  const told = readAuthority(await (await client.raw('ca.get', {})).text())
  const isNewer = new X509Certificate(told.pem).validFromDate > new X509Certificate(ca).validFromDate
  return told.fingerprint === ca_sha256 && isNewer ? { ca: told.pem, fingerprint: told.fingerprint } : {}
}

const clientOf = (upstream: Upstream, token?: string) =>
  createClient(async (path, init) => {
    const headers = { accept: 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) }
    const body = { kind: 'whole', bytes: undefined } as const
    const signal = AbortSignal.timeout(10_000)
    const answer = await upstream.send({ method: init.method ?? 'GET', path, headers, body, signal })
    return new Response(ReadableStream.from(answer.body), { status: answer.status })
  })
