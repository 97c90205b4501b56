import type { Command } from '../commands.ts'
import type { Transaction } from '../transaction.ts'

/** Register an upload, or more holders of one that is known. */
export function create(
  tx: Transaction,
  { sha256, bytes, holders }: Extract<Command, { type: 'blob.create' }>,
): void {
  const row = tx.get('blobs', sha256)
  const known = row?.holders ?? []
  tx.put('blobs', sha256, {
    bytes,
    holders: [...known, ...holders.filter((node) => !known.includes(node))],
    created_at: row?.created_at ?? tx.at,
  })
}
