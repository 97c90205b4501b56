import { tableNames } from '../cluster/transaction.ts'
import { type BackupHeader, checkBackup } from './backup-file.ts'
import { type OpenedBackup, openBackup } from './content.ts'

/** What is known of a backup; without the passphrase only that the file is whole. */
export interface BackupSummary {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
  readonly cluster: BackupHeader['cluster']
  readonly index: number
  readonly taken_at: string
  readonly agent: string
  /** Objects by kind; null when it was not opened. */
  readonly contents: Readonly<Record<string, number>> | null
}

export async function verifyBackup(path: string, passphrase?: string): Promise<BackupSummary> {
  const opened = passphrase === undefined ? undefined : await openBackup(path, passphrase)
  const { bytes, sha256, header } = opened ?? (await checkBackup(path))
  const contents = opened ? countsOf(opened) : null
  const { cluster, index, taken_at, agent } = header
  return { path, bytes, sha256, cluster, index, taken_at, agent, contents }
}

function countsOf({ state, eventCount }: OpenedBackup): Record<string, number> {
  return { ...Object.fromEntries(tableNames.map((name) => [name, state[name].size])), events: eventCount }
}
