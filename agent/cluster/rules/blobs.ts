import type { Command } from '../commands.ts'
import type { BlobRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'

/** Register an upload, or more holders of one that is known. */
export function create(
  tx: Transaction,
  { sha256, bytes, holders, by }: Extract<Command, { type: 'blob.create' }>,
): void {
  const row = tx.get('blobs', sha256)
  const known = row?.holders ?? []
  tx.put('blobs', sha256, {
    bytes,
    holders: [...known, ...holders.filter((node) => !known.includes(node))],
    created_at: row?.created_at ?? tx.at,
    ...uploadersOf(row, by),
  })
}

/** Whoever sends all its bytes has it, so they may name it by its digest from then on. */
function uploadersOf(row: BlobRow | undefined, by: string | undefined): Pick<BlobRow, 'uploaders'> {
  const known = row?.uploaders
  if (by === undefined || known?.includes(by)) return known ? { uploaders: known } : {}
  return { uploaders: [...(known ?? []), by] }
}
