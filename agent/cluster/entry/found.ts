import { randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DiskStore, EMPTY_CONF, levelDisk } from '../../../raft/index.ts'
import type { Command } from '../commands.ts'
import { createCa, createKeyAndRequest, signNode } from '../identity/ca.ts'
import { checkUnused, initFolder } from '../identity/data-folder.ts'
import { hasCode, writeFileDurably } from '../identity/files.ts'
import { hashPassword, newClusterKey, newPassword, seal } from '../identity/seal.ts'
import { nodeIdOf } from '../rules/members.ts'
import { caKeyContext, ipsOf } from '../signer.ts'

/** What the founder still has to put into the log, kept until it is there. */
export interface Founding {
  readonly command: Extract<Command, { type: 'cluster.create' }>
  /** Shown once, when the cluster stands. */
  readonly password: string
}

export interface Founder {
  readonly data: string
  readonly clusterName: string
  readonly name: string
  readonly address: string
  /** The first admin's password; default: a one-time one. */
  readonly password?: string | undefined
}

const foundingFile = 'founding.json'
/** The founder's member id; the state machine hands out the next ones. */
const first = 1

/** Make the data folder of a new cluster's first member: authority, keys, identity, a log with itself as only voter. */
export async function foundCluster({
  data,
  clusterName,
  name,
  address,
  password: chosen,
}: Founder): Promise<void> {
  await checkUnused(data)
  const id = randomBytes(8).toString('hex')
  const ca = await createCa(clusterName)
  const clusterKey = newClusterKey()
  const password = chosen ?? newPassword()
  const once = chosen === undefined ? { must_change: true } : {}
  const { key, request } = await createKeyAndRequest()
  const cert = await signNode({ ca, request, cluster: id, member: first, name, ips: ipsOf(address) })
  const founding: Founding = {
    password,
    command: {
      type: 'cluster.create',
      id,
      name: clusterName,
      ca: ca.cert,
      sealed_ca_key: seal(clusterKey, ca.key, caKeyContext(id)),
      admin: { name: 'admin', password_hash: await hashPassword(password), ...once },
      node: { name, address },
    },
  }
  await initFolder(data, {
    identity: {
      cluster: id, cluster_name: clusterName, member: first, node: nodeIdOf(first), name, created_at: new Date().toISOString(),
    },
    credentials: { ca: ca.cert, cert, key },
    clusterKey,
    prepare: async (folders) => {
      await writeFileDurably(join(data, foundingFile), JSON.stringify(founding), 0o600)
      const conf = { ...EMPTY_CONF, voters: [first] }
      await (await DiskStore.create(levelDisk(folders.log), { id: first, clusterId: id, conf })).close()
    },
  }) // prettier-ignore
}

export async function readFounding(data: string): Promise<Founding | undefined> {
  try {
    return JSON.parse(await readFile(join(data, foundingFile), 'utf8')) as Founding
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

export const forgetFounding = (data: string): Promise<void> => rm(join(data, foundingFile), { force: true })
