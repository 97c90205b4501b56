import { buffer } from 'node:stream/consumers'
import { ProblemError } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { keyId } from '../cluster/identity/envelope.ts'
import { open, seal } from '../cluster/identity/seal.ts'
import { theCluster } from '../cluster/state.ts'
import { type Kdf, newNonce, writeBackup } from './backup-file.ts'
import { keyForClusterKey } from './passphrase.ts'

/** What binds the sealed cluster key to its place in a backup. */
export const backupKeyContext = (cluster: string) => `backup:${cluster}`
const keyBytes = 32

/** The cluster key as a backup has it. */
export const openedKey = (key: Uint8Array, sealed: string, cluster: string): Buffer =>
  Buffer.from(open(key, sealed, backupKeyContext(cluster)), 'base64')

export interface BackupsOptions {
  readonly cluster: Cluster
  /** The state at the newest applied entry, as lines of JSON. */
  readonly image: () => { readonly index: number; readonly data: AsyncIterable<Uint8Array> }
  /** Only voters have it. */
  readonly clusterKey: () => Buffer | undefined
  readonly version: string
}

/** Makes backups: any agent has the whole state; the cluster key is added by a voter, sealed by the passphrase's key. */
export class Backups {
  readonly #options: BackupsOptions

  constructor(options: BackupsOptions) {
    this.#options = options
    options.cluster.peers.serve('/backup-key', async (_from, request, response) => {
      response.end(this.#sealHere(await buffer(request)))
    })
  }

  /** As new as every acknowledged write; consistent, at one entry. */
  async make({ key, kdf }: { key: Uint8Array; kdf: Kdf }): Promise<AsyncIterable<Uint8Array>> {
    const { cluster, image, version } = this.#options
    await cluster.barrier()
    const wrapping = keyForClusterKey(key)
    const sealedKey = await this.#sealedKey(wrapping)
    const row = cluster.state().cluster.get(theCluster)
    const isNow = row?.key === undefined || row.key === keyId(openedKey(wrapping, sealedKey, row.id))
    if (!isNow)
      throw new ProblemError('busy', 'the cluster key was replaced meanwhile', { hint: 'Try again.' })
    if (!row) throw new ProblemError('busy', 'this agent has not learned its cluster yet')
    const { index, data } = image()
    const header = {
      format: 1,
      cluster: { id: row.id, name: row.name },
      index,
      taken_at: new Date().toISOString(),
      agent: version,
      kdf,
      nonce: newNonce(),
    } as const
    return writeBackup(header, key, contentOf(sealedKey, data))
  }

  async #sealedKey(key: Buffer): Promise<string> {
    const { cluster, clusterKey } = this.#options
    if (clusterKey()) return this.#sealHere(key)
    const { leader } = cluster.status()
    if (!leader) throw new ProblemError('no_leader')
    const { body } = await cluster.peers.request(leader, { method: 'POST', path: '/backup-key', body: key })
    return (await buffer(body)).toString()
  }

  #sealHere(key: Buffer): string {
    const { cluster, clusterKey } = this.#options
    const row = cluster.state().cluster.get(theCluster)
    const secret = clusterKey()
    if (!row || !secret) throw new ProblemError('no_leader', 'this agent has no cluster key')
    if (key.length !== keyBytes) throw new ProblemError('invalid_request', `a key has ${keyBytes} bytes`)
    return seal(key, secret.toString('base64'), backupKeyContext(row.id))
  }
}

const line = (value: object) => Buffer.from(JSON.stringify(value) + '\n')

/** The last line says how many there are, so that a half of the content is never taken for the whole. */
async function* contentOf(sealedKey: string, image: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield line({ cluster_key: sealedKey })
  let lines = 0
  for await (const chunk of image) {
    for (const byte of chunk) if (byte === 0x0a) lines += 1
    yield chunk
  }
  yield line({ end: lines })
}
