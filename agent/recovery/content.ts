import { ProblemError } from '../../contract/index.ts'
import { openEnvelope } from '../cluster/identity/envelope.ts'
import { type ImageLine, readImage, Tables } from '../cluster/image.ts'
import { type State, theCluster } from '../cluster/state.ts'
import { caKeyContext } from '../cluster/signer.ts'
import type { History } from '../store/state-db.ts'
import { type CheckedBackup, checkBackup, readBackup } from './backup-file.ts'
import { openedKey } from './backups.ts'
import { keyForClusterKey, passphraseKey } from './passphrase.ts'

/** A backup that was opened with its passphrase, and in which nothing is missing. */
export interface OpenedBackup extends CheckedBackup {
  readonly state: State
  readonly clusterKey: Buffer
  /** The CA's private key, PEM. */
  readonly caKey: string
  readonly eventCount: number
  /** Events and the audit log, read from the file again. */
  readonly history: () => AsyncGenerator<History>
}

type Line = ImageLine | { readonly cluster_key: string } | { readonly end: number }

/** Throws ProblemError: no backup, cut off, damaged, too new, or another passphrase. */
export async function openBackup(path: string, passphrase: string): Promise<OpenedBackup> {
  const checked = await checkBackup(path)
  const key = await passphraseKey(passphrase, checked.header.kdf)
  const { state, sealedKey, eventCount } = await readState(checked, key)
  const row = state.cluster.get(theCluster)
  if (!row || row.id !== checked.header.cluster.id) throw incomplete(path)
  const clusterKey = openedKey(keyForClusterKey(key), sealedKey, row.id)
  const caKey = openEnvelope(clusterKey, row.sealed_ca_key, caKeyContext(row.id))
  return { ...checked, state, clusterKey, caKey, eventCount, history: () => historyOf(checked, key) }
}

const linesOf = (backup: CheckedBackup, key: Buffer) =>
  readImage(readBackup(backup, key)) as AsyncGenerator<Line>

async function readState(
  backup: CheckedBackup,
  key: Buffer,
): Promise<{ state: State; sealedKey: string; eventCount: number }> {
  const tables = new Tables()
  let sealedKey: string | undefined
  let [rows, events, records, end] = [0, 0, 0, -1]
  for await (const line of linesOf(backup, key)) {
    if ('cluster_key' in line) sealedKey = line.cluster_key
    else if ('end' in line) end = line.end
    else if ('event' in line) events += 1
    else if ('audit' in line) records += 1
    else {
      rows += 1
      tables.add(line.table, line.key, line.row)
    }
  }
  if (sealedKey === undefined || end !== rows + events + records) throw incomplete(backup.path)
  return { state: tables.state(), sealedKey, eventCount: events }
}

async function* historyOf(backup: CheckedBackup, key: Buffer): AsyncGenerator<History> {
  for await (const line of linesOf(backup, key)) if ('event' in line || 'audit' in line) yield line
}

const incomplete = (path: string) =>
  new ProblemError('invalid_request', `the backup does not hold a whole state: ${path}`, {
    hint: 'Use an older backup.',
  })
