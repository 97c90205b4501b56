import { randomBytes } from 'node:crypto'
import { openApi, ProblemError } from '../../contract/index.ts'
import type { Actor, Authority, BackupRequest, Cluster as ClusterView, JoinReply, JoinRequest, JoinToken, Version } from '../../contract/index.ts' // prettier-ignore
import type { Cluster } from '../cluster/cluster.ts'
import { fingerprint } from '../cluster/identity/ca.ts'
import { encodeJoinToken } from '../cluster/identity/join-token.ts'
import { sha256Of } from '../cluster/identity/seal.ts'
import { withoutCertificate } from '../cluster/rules/authority.ts'
import { type ClusterRow, type State, theCluster } from '../cluster/state.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { livenessOf, roleOf } from './views.ts'
import { warningsOf } from './warnings.ts'

const joinTokenMs = 24 * 3600 * 1000

export interface ClusterService {
  version(): Version
  openApi(): Record<string, unknown>
  /** The CA's certificate, PEM. */
  ca(): string
  get(actor: Actor, query: { consistency: Consistency }): Promise<ClusterView>
  createJoinToken(actor: Actor): Promise<JoinToken>
  join(request: JoinRequest): Promise<JoinReply>
  backup(actor: Actor, request: BackupRequest): Promise<AsyncIterable<Uint8Array>>
  rotateKey(actor: Actor): Promise<void>
  rotateCa(actor: Actor): Promise<Authority>
  finishCa(actor: Actor): Promise<Authority>
  /** The CA's fingerprint, once it is not the one that the cluster began with: for clients who know an older one. */
  replacedCa(): string | undefined
  /** HOST:PORT of every node. */
  addresses(): string[]
  /** What this agent's own copy is as new as. */
  appliedIndex(): number
  /** Seconds since that copy was known to be as new as the leader's; null when never since the start. */
  copyAge(): number | null
  /** May work be sent here: a leader is known, and the disk has room. */
  ready(): { ready: boolean; leader: string | null; disk_low: boolean }
}

export function createClusterService(deps: ServiceDeps): ClusterService {
  const { cluster, space, admit, backup, now = Date.now } = deps
  const document = openApi(deps.version)
  const replacedCa = replacedCas()

  function own(): ClusterRow {
    const row = cluster.state().cluster.get(theCluster)
    if (!row) throw new ProblemError('busy', 'this agent has not learned its cluster yet')
    return row
  }

  const addresses = () => [...cluster.state().nodes.values()].map((node) => node.address)

  return {
    version: () => versionOf(deps, own()),
    openApi: () => document,
    ca: () => own().ca,
    async get(actor, { consistency }) {
      demand(actor, 'cluster:read')
      await settled(cluster, consistency)
      return clusterView(deps, own())
    },
    async createJoinToken(actor) {
      demand(actor, 'cluster:admin')
      const secret = randomBytes(32).toString('base64url')
      const expires_at = new Date(now() + joinTokenMs).toISOString()
      await cluster.propose({ type: 'joinToken.create', sha256: sha256Of(secret), expires_at }, actor)
      const { ca } = own()
      const ticket = { addresses: addresses().slice(0, 16), secret }
      return { token: encodeJoinToken({ ...ticket, ca_sha256: fingerprint(ca) }), expires_at }
    },
    addresses,
    join: (request) => admit(request),
    async backup(actor, request) {
      demand(actor, 'cluster:admin')
      return backup(request)
    },
    async rotateKey(actor) {
      demand(actor, 'cluster:admin')
      await deps.rotateKey(actor)
    },
    async rotateCa(actor) {
      demand(actor, 'cluster:admin')
      await deps.authority.rotate(actor)
      return authorityOf(cluster.state(), own())
    },
    async finishCa(actor) {
      demand(actor, 'cluster:admin')
      await deps.authority.finish(actor)
      return authorityOf(cluster.state(), own())
    },
    replacedCa: () => replacedCa(cluster.state().cluster.get(theCluster)),
    appliedIndex: () => cluster.status().applied,
    copyAge: () => copyAge(cluster),
    ready() {
      const { leader } = cluster.status()
      const disk_low = space.low()
      return { ready: leader !== null && !disk_low, leader, disk_low }
    },
  }
}

function authorityOf(state: State, { ca, former_ca }: ClusterRow): Authority {
  return {
    ca_sha256: fingerprint(ca),
    former_sha256: former_ca === undefined ? null : fingerprint(former_ca),
    waiting: former_ca === undefined ? [] : withoutCertificate(state),
  }
}

/** Of each answer, so it is worked out once for each authority. */
function replacedCas(): (row: ClusterRow | undefined) => string | undefined {
  let known: { readonly ca: string; readonly sha256: string } | undefined
  return (row) => {
    if (!row?.ca_links?.length) return undefined
    if (known?.ca !== row.ca) known = { ca: row.ca, sha256: fingerprint(row.ca) }
    return known.sha256
  }
}

/** Rounded up: never shown newer than it is. */
function copyAge(cluster: Cluster): number | null {
  const ms = cluster.staleMs()
  return ms === null ? null : Math.ceil(ms / 1000)
}

function versionOf({ cluster, version, demo }: ServiceDeps, { id, name, ca }: ClusterRow): Version {
  const { node } = cluster.self
  return {
    product: 'submarine-docker-cluster',
    version,
    api: 'v2',
    cluster: { id, name },
    node: { id: node, name: cluster.state().nodes.get(node)?.name ?? node },
    ca_sha256: fingerprint(ca),
    demo,
  }
}

function clusterView({ cluster }: ServiceDeps, { id, name, created_at }: ClusterRow): ClusterView {
  const { leader, term, commit, applied, voters } = cluster.status()
  const reachable = { ready: true, suspect: true, unreachable: false, unknown: null }
  const members = [...cluster.state().nodes.values()].map((row) => ({
    member: row.member,
    node: row.id,
    name: row.name,
    address: row.address,
    role: roleOf(cluster, row.member),
    leader: row.id === leader,
    reachable: row.id === leader ? true : reachable[livenessOf(cluster, row.id).liveness],
  }))
  const silent = members.filter(
    ({ member, reachable }) => voters.includes(member) && reachable === false,
  ).length
  return {
    id,
    name,
    created_at,
    leader,
    term,
    commit_index: commit,
    applied_index: applied,
    voters: voters.length,
    // Beyond those that have failed already.
    may_fail: Math.max(0, Math.floor((voters.length - 1) / 2) - silent),
    members: members.toSorted((a, b) => a.member - b.member),
    warnings: warningsOf(cluster),
    copy_age: copyAge(cluster),
  }
}
