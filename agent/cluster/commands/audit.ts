import type { AuditRecord } from '../../../contract/index.ts'

/** What is to stand in the audit log although it changed nothing: refused calls, and what was done beside the log. */
export type AuditNote = Omit<AuditRecord, 'seq' | 'index' | 'before' | 'after' | 'previous' | 'sha256'> & {
  /** Digest of what was made. */
  readonly after?: string
}

export type AuditCommand = { type: 'audit.note'; notes: readonly AuditNote[] }
