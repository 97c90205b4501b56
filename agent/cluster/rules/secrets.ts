import { ProblemError, type Sharing } from '../../../contract/index.ts'
import type { SecretCommand } from '../commands/secrets.ts'
import type { Transaction } from '../transaction.ts'
import { checkKey } from './cluster-key.ts'
import { checkSharing } from './sharing.ts'

type Of<T extends SecretCommand['type']> = Extract<SecretCommand, { type: T }>

export function put(tx: Transaction, { type: _, ...given }: Of<'secret.put'>): void {
  const { id, owner, team } = given
  checkKey(tx, given.sealed)
  const before = tx.get('secrets', id)
  if ((before?.version ?? 0) + 1 !== given.version)
    throw new ProblemError('conflict', `the secret ${id} was changed meanwhile`, { hint: 'Try again.' })
  if (!before) tx.need('users', owner, 'user')
  const sharing: Sharing = before?.sharing ?? { visibility: team === null ? 'private' : 'team', shares: [] }
  tx.put('secrets', id, {
    ...given,
    // Whose it is was said when it was made.
    ...(before ? { owner: before.owner, team: before.team } : {}),
    sharing,
    created_at: before?.created_at ?? tx.at,
    updated_at: tx.at,
    updated_by: tx.actor,
  })
  tx.event('secret.set', subject(id), `${tx.who} ${before ? 'replaced' : 'made'} the secret ${id}`)
}

export function remove(tx: Transaction, { id }: Of<'secret.delete'>): void {
  tx.need('secrets', id, 'secret')
  tx.delete('secrets', id)
  tx.event('secret.deleted', subject(id), `${tx.who} deleted the secret ${id}`)
}

export function share(tx: Transaction, { id, sharing }: Of<'secret.share'>): void {
  const row = tx.need('secrets', id, 'secret')
  checkSharing(tx, sharing, row.team ?? undefined)
  tx.put('secrets', id, { ...row, sharing })
  tx.event('secret.shared', subject(id), `${tx.who} said who may use the secret ${id}`)
}

/** Theirs alone; those of a team are the team's still. */
export function removeThoseOf(tx: Transaction, owner: string): void {
  for (const row of tx.state.secrets.values())
    if (row.owner === owner && row.team === null) remove(tx, { type: 'secret.delete', id: row.id })
}

const subject = (id: string) => ({ kind: 'secret', id }) as const
