import type { AuditRecord } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { State, TableName } from '../state.ts'
import { tableNames } from '../transaction.ts'

type Fields = Readonly<Record<string, unknown>>

/** Kinds whose commands are named otherwise than their objects. */
const kinds: Readonly<Record<string, string>> = {
  workload: 'experiment',
  monitorTokens: 'monitorToken',
  authority: 'cluster',
}
/** What objects are called by in their commands, when not by their own kind. */
const idFields = ['id', 'subject', 'host', 'digest', 'name', 'user', 'node', 'task']

/** The object a command is about. */
export function objectOf(command: Command): AuditRecord['object'] {
  const [prefix = ''] = command.type.split('.')
  const kind = kinds[prefix] ?? prefix
  const fields = command as unknown as Fields
  const named = [kind, ...idFields].map((field) => fields[field]).find((id) => typeof id === 'string')
  if (named !== undefined) return { kind, id: named }
  // Digests of secrets stay whole in the state alone.
  const { sha256 } = fields
  return { kind, id: typeof sha256 === 'string' ? sha256.slice(0, 12) : null }
}

const singular = (table: string) => table.replace(/ies$/, 'y').replace(/s$/, '')
const tables = new Map<string, TableName>([
  ...tableNames.map((name) => [name as string, name] as const),
  ...tableNames.map((name) => [singular(name), name] as const),
])

/** Its row, if it has one. Objects of which there is one alone have the key `self`. */
export function rowOf(
  state: State,
  { kind, id }: AuditRecord['object'],
  command: Command,
): object | undefined {
  const table = tables.get(kind)
  if (!table) return undefined
  const { sha256 } = command as unknown as Fields
  const rows = state[table] as { get(key: string): object | undefined }
  return (
    (id === null ? undefined : rows.get(id)) ??
    (typeof sha256 === 'string' ? rows.get(sha256) : undefined) ??
    (id === null || kind === 'cluster' ? rows.get('self') : undefined)
  )
}
