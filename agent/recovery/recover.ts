import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ProblemError, holdsResources } from '../../contract/index.ts'
import {
  DiskStore,
  isVoter,
  levelDisk,
  members,
  type Replayed,
  replayAll,
  StoreError,
} from '../../raft/index.ts'
import {
  type DataFolder,
  openFolder,
  writeClusterKeys,
  writeCredentials,
  writeIdentity,
} from '../cluster/identity/data-folder.ts'
import { keyId, openEnvelope } from '../cluster/identity/envelope.ts'
import { readImage } from '../cluster/image.ts'
import { nodeIdOf } from '../cluster/rules/members.ts'
import { caKeyContext } from '../cluster/signer.ts'
import { ClusterStateMachine } from '../cluster/state-machine.ts'
import { type ClusterRow, type State, theCluster } from '../cluster/state.ts'
import { type History, StateDamaged, StateDb } from '../store/state-db.ts'
import {
  type Authority,
  credentialsOf,
  indexGap,
  newAuthority,
  newClusterId,
  sealedBy,
  sizes,
  writeLog,
} from './new-group.ts'
import { regroup } from './regroup.ts'
import { beginSwap, commitSwap, resumeSwap } from './swap.ts'

/** What a recovery starts from and will do, for people to read before they agree. */
export interface RecoveryPlan {
  readonly data: string
  readonly cluster: { readonly id: string; readonly name: string }
  readonly node: string
  readonly name: string
  readonly address: string
  readonly role: 'voter' | 'learner' | 'no member yet'
  /** The log's end. Everything in it counts from then on. */
  readonly index: number
  readonly term: number
  /** Entries that this member did not know to be committed. */
  readonly uncertain: number
  /** When this member last wrote to its log. */
  readonly last_written: string
  readonly members: readonly {
    readonly node: string
    readonly name: string
    readonly address: string
    readonly role: string
    readonly here: boolean
  }[]
  readonly users: number
  readonly experiments: number
  readonly running_here: readonly string[]
  readonly running_elsewhere: readonly string[]
  /** False on a learner, which has no key to sign with: consoles have to trust the cluster anew. */
  readonly same_authority: boolean
}

export interface Recovered {
  readonly cluster: { readonly id: string; readonly name: string }
  readonly node: string
  readonly name: string
  /** Where the old log and identity are kept. */
  readonly aside: string
  readonly lost_nodes: readonly string[]
  readonly failed_tasks: readonly string[]
}

export interface Recovery {
  readonly plan: RecoveryPlan
  /** Makes this member the only one of a new group. */
  carryOut(): Promise<Recovered>
  close(): Promise<void>
}

interface Survivor {
  readonly folder: DataFolder
  readonly machine: ClusterStateMachine
  readonly end: Replayed
  readonly row: ClusterRow
  readonly lastWritten: string
}

/**
 * Opens a stopped member's data folder, to found its cluster anew from it when the majority is gone for good. Throws
 * ProblemError when an agent runs on it, or when its own data is damaged. An interrupted recovery is finished first.
 */
export async function openRecovery(data: string): Promise<Recovery | { readonly finished: string }> {
  const finished = await resumeSwap(data, (ready) => readFile(ready, 'utf8'))
  if (finished) return { finished }
  const folder = await openFolder(data)
  try {
    const survivor = await openSurvivor(folder)
    const plan = planOf(survivor)
    const close = async () => {
      await survivor.machine.close()
      await folder.close()
    }
    if (isAlone(plan)) {
      await survivor.machine.close()
      throw alone(plan)
    }
    return { plan, carryOut: () => carryOut(survivor, plan), close }
  } catch (error) {
    await folder.close()
    throw error
  }
}

/** Nobody is missing: a second recovery of the same host would only give it another id. */
const isAlone = ({ members, role }: RecoveryPlan) => role === 'voter' && members.length === 1

const alone = ({ name, cluster }: RecoveryPlan) =>
  new ProblemError('conflict', `${name} is the only member of ${cluster.name} already: nothing is lost`, {
    hint: 'Start its agent: `submarine agent start` with this data folder.',
  })

async function openSurvivor(folder: DataFolder): Promise<Survivor> {
  const { folders, identity } = folder
  const lastWritten = await newest(join(folders.log, 'log'))
  const who = { id: identity.member, clusterId: identity.cluster }
  const store = await DiskStore.open(levelDisk(folders.log), who).catch(throwDamaged)
  try {
    const machine = await ClusterStateMachine.open(await StateDb.open(folders.state)).catch(throwDamaged)
    try {
      const end = await replayAll({ store, stateMachine: machine })
      const row = machine.state.cluster.get(theCluster)
      if (!row) throw noState(folder.path)
      return { folder, machine, end, row, lastWritten }
    } catch (error) {
      await machine.close()
      throw error
    }
  } finally {
    await store.close()
  }
}

function planOf({ folder, machine, end, row, lastWritten }: Survivor): RecoveryPlan {
  const { identity, path } = folder
  const { state } = machine
  const running = [...state.tasks.values()].filter((task) => holdsResources(task.state))
  const here = (node: string | null) => node === identity.node
  return {
    data: path,
    cluster: { id: row.id, name: row.name },
    node: identity.node,
    name: identity.name,
    address: state.nodes.get(identity.node)?.address ?? '',
    role: roleIn(end, identity.member),
    index: end.index,
    term: end.term,
    uncertain: end.index - end.commit,
    last_written: lastWritten,
    members: membersOf(state, end, identity.member),
    ...sizes(state),
    running_here: running.filter((task) => here(task.node)).map(({ id }) => id),
    running_elsewhere: running.filter((task) => !here(task.node)).map(({ id }) => id),
    same_authority: keyInUse(folder, row) !== undefined,
  }
}

function roleIn({ conf }: Replayed, member: number): RecoveryPlan['role'] {
  if (isVoter(conf, member)) return 'voter'
  return members(conf).includes(member) ? 'learner' : 'no member yet'
}

function membersOf(state: State, end: Replayed, self: number): RecoveryPlan['members'] {
  return members(end.conf).map((member) => {
    const node = nodeIdOf(member)
    const { name = '?', address = '?' } = state.nodes.get(node) ?? {}
    return { node, name, address, role: roleIn(end, member), here: member === self }
  })
}

async function carryOut({ folder, machine, end, row }: Survivor, plan: RecoveryPlan): Promise<Recovered> {
  const { path: data, identity } = folder
  const now = new Date().toISOString()
  const cluster = { id: newClusterId(), name: row.name }
  const authority = await authorityOf(folder, row)
  const at = { cluster: cluster.id, index: end.index + indexGap, term: end.term + 1 }
  const message = `the cluster was founded anew from ${identity.name}, at entry ${end.index}: the majority was lost`
  const { name } = identity
  const { address } = plan
  const group = regroup(machine.state, at.index, now, {
    cluster: { ...cluster, ca: authority.ca.cert, ...sealedBy(authority, cluster.id) },
    node: { name, address },
    survivor: identity.node,
    keepTokens: true,
    event: { code: 'cluster.recovered', message },
    lost: `it was lost with the majority of the cluster`,
  })
  const { member, node } = group
  const made = await beginSwap(data)
  await writeLog(join(made, 'log'), at, group, () => historyOf(machine))
  await writeCredentials(made, await credentialsOf(authority, { cluster: cluster.id, member, name, address }))
  await writeClusterKeys(made, [authority.clusterKey])
  const formerly = [...(identity.formerly ?? []), { cluster: identity.cluster, node: identity.node }]
  await writeIdentity(made, {
    cluster: cluster.id, cluster_name: cluster.name, member, node, name, created_at: now, formerly,
  }) // prettier-ignore
  // Its files are moved next.
  await machine.close()
  const aside = await commitSwap(data, `before-recovery-${cluster.id}`)
  return { cluster, node, name, aside, lost_nodes: group.lostNodes, failed_tasks: group.failedTasks }
}

/** The cluster's own where this member could open it: it was a voter. */
async function authorityOf(folder: DataFolder, row: ClusterRow): Promise<Authority> {
  const clusterKey = keyInUse(folder, row)
  if (!clusterKey) return newAuthority(row.name)
  const key = openEnvelope(clusterKey, row.sealed_ca_key, caKeyContext(row.id))
  return { ca: { cert: row.ca, key }, clusterKey }
}

const keyInUse = ({ clusterKeys }: DataFolder, { key }: ClusterRow): Buffer | undefined =>
  key === undefined ? clusterKeys[0] : clusterKeys.find((one) => keyId(one) === key)

async function* historyOf(machine: ClusterStateMachine): AsyncGenerator<History> {
  for await (const line of readImage(machine.snapshot().data))
    if ('event' in line || 'audit' in line) yield line
}

async function newest(folder: string): Promise<string> {
  const times = (await readdir(folder).catch(() => [])).map(
    async (name) => (await stat(join(folder, name))).mtimeMs,
  )
  return new Date(Math.max(0, ...(await Promise.all(times)))).toISOString()
}

function throwDamaged(error: unknown): never {
  if (error instanceof StateDamaged)
    throw new ProblemError('conflict', error.message, { hint: error.hint, cause: error })
  if (error instanceof StoreError)
    throw new ProblemError('conflict', error.message, {
      hint: 'Nothing can be recovered from this folder. Try another surviving host, or restore a backup: `submarine cluster restore`.',
      cause: error,
    })
  throw error
}

const noState = (data: string) =>
  new ProblemError('conflict', `this host never received the state of its cluster: ${data}`, {
    hint: 'Recover from another surviving host, or restore a backup: `submarine cluster restore`.',
  })
