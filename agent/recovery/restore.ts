import { addressesOf, defaultName } from '../address.ts'
import { checkUnused, initFolder } from '../cluster/identity/data-folder.ts'
import { theCluster } from '../cluster/state.ts'
import { openBackup } from './content.ts'
import {
  credentialsOf,
  indexGap,
  newAuthority,
  newClusterId,
  sealedBy,
  sizes,
  writeLog,
} from './new-group.ts'
import { regroup } from './regroup.ts'

export interface Restore {
  readonly file: string
  readonly passphrase: string
  readonly data: string
  /** Default: the host's. */
  readonly name?: string
  /** HOST:PORT the others reach it by. */
  readonly advertise?: string
  /** A copy that has nothing to do with the original: an authority of its own, nobody signed in. */
  readonly newCluster: boolean
  readonly now?: Date
}

export interface Restored {
  readonly cluster: { readonly id: string; readonly name: string }
  readonly node: string
  readonly name: string
  readonly taken_at: string
  readonly users: number
  readonly experiments: number
  /** Names of the hosts that have to join anew. */
  readonly lost_nodes: readonly string[]
  readonly failed_tasks: readonly string[]
  readonly same_authority: boolean
}

/**
 * The data folder of a new cluster's first member, with the state of a backup. Its id is new, so that certificates of
 * the old members open nothing; with the same authority, consoles that trust it go on.
 */
export async function restoreBackup(options: Restore): Promise<Restored> {
  const { file, passphrase, data, newCluster, name = defaultName(), now = new Date() } = options
  const { advertise: address } = addressesOf(options)
  await checkUnused(data)
  const backup = await openBackup(file, passphrase)
  const { header, state, clusterKey, caKey } = backup
  const old = state.cluster.get(theCluster)
  const cluster = { id: newClusterId(), name: header.cluster.name }
  const authority = newCluster
    ? await newAuthority(cluster.name)
    : { ca: { cert: old?.ca ?? '', key: caKey }, clusterKey }
  const index = header.index + indexGap
  const lost = `the cluster was restored from a backup of ${header.taken_at}`
  const group = regroup(state, index, now.toISOString(), {
    cluster: { ...cluster, ca: authority.ca.cert, ...sealedBy(authority, cluster.id) },
    node: { name, address },
    keepTokens: !newCluster,
    event: { code: 'cluster.restored', message: lost },
    lost,
  })
  const { member, node } = group
  await initFolder(data, {
    identity: {
      cluster: cluster.id,
      cluster_name: cluster.name,
      member,
      node,
      name,
      created_at: now.toISOString(),
    },
    credentials: await credentialsOf(authority, { cluster: cluster.id, member, name, address }),
    clusterKey: authority.clusterKey,
    prepare: (folders) =>
      writeLog(folders.log, { cluster: cluster.id, index, term: 1 }, group, backup.history),
  })
  return {
    cluster, node, name, taken_at: header.taken_at, ...sizes(group.state),
    lost_nodes: group.lostNodes, failed_tasks: group.failedTasks, same_authority: !newCluster,
  } // prettier-ignore
}
