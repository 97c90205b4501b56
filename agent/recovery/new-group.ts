import { randomBytes } from 'node:crypto'
import { beginWith, DiskStore, EMPTY_CONF, levelDisk } from '../../raft/index.ts'
import {
  createCa,
  createKeyAndRequest,
  type Credentials,
  type Pair,
  signNode,
} from '../cluster/identity/ca.ts'
import { keyId, sealEnvelope } from '../cluster/identity/envelope.ts'
import { imageLines } from '../cluster/image.ts'
import { caKeyContext, ipsOf } from '../cluster/signer.ts'
import type { State } from '../cluster/state.ts'
import type { History, StoredEvent } from '../store/state-db.ts'
import type { Regrouped } from './regroup.ts'

/**
 * The new group's entries are numbered from well after whatever the old one may have reached: a version that a console
 * remembers is never one that is still to come.
 */
export const indexGap = 1_000_000

export const newClusterId = (): string => randomBytes(8).toString('hex')

/** Who vouches for members: the old authority where its key is known, or a new one. */
export interface Authority {
  readonly ca: Pair
  readonly clusterKey: Buffer
}

export const newAuthority = async (name: string): Promise<Authority> => ({
  ca: await createCa(name),
  clusterKey: randomBytes(32),
})

export const sealedBy = ({ ca, clusterKey }: Authority, cluster: string) => ({
  sealed_ca_key: sealEnvelope(clusterKey, ca.key, caKeyContext(cluster)),
  key: keyId(clusterKey),
})

export async function credentialsOf(
  { ca }: Authority,
  of: { cluster: string; member: number; name: string; address: string },
): Promise<Credentials> {
  const { key, request } = await createKeyAndRequest()
  const { cluster, member, name, address } = of
  return {
    ca: ca.cert,
    key,
    cert: await signNode({ ca, request, cluster, member, name, ips: ipsOf(address) }),
  }
}

/** A log with one member that begins with the given state. */
export async function writeLog(
  folder: string,
  of: { cluster: string; index: number; term: number },
  { state, events, member }: Regrouped,
  before: () => AsyncIterable<History>,
): Promise<void> {
  const identity = { id: member, clusterId: of.cluster }
  const store = await DiskStore.create(levelDisk(folder), { ...identity, conf: EMPTY_CONF })
  try {
    const at = { index: of.index, term: of.term, conf: { ...EMPTY_CONF, voters: [member] } }
    await beginWith(store, at, () => imageLines(state, both(before(), events)))
  } finally {
    await store.close()
  }
}

async function* both(before: AsyncIterable<History>, after: readonly StoredEvent[]): AsyncGenerator<History> {
  yield* before
  yield* after
}

/** How many there are of what people ask about. */
export const sizes = (state: State) => ({
  users: state.users.size,
  experiments: state.experiments.size,
})
