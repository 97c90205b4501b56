import { ProblemError, type Sharing } from '../../../contract/index.ts'
import type { PeopleCommand } from '../commands/people.ts'
import type { Transaction } from '../transaction.ts'
import { experimentVersion, tasksOf } from './settle.ts'
import { checkVersion } from './versions.ts'

type Of<T extends PeopleCommand['type']> = Extract<PeopleCommand, { type: T }>

export function shareExperiment(tx: Transaction, { id, sharing, if_version }: Of<'experiment.share'>): void {
  const row = tx.need('experiments', id, 'experiment')
  checkVersion(id, experimentVersion(row, tasksOf(tx, row)), if_version)
  checkSharing(tx, sharing, row.spec.team)
  if (JSON.stringify(row.sharing) === JSON.stringify(sharing)) return
  tx.put('experiments', id, { ...row, sharing })
  tx.event(
    'experiment.shared',
    { kind: 'experiment', id },
    `${tx.who} shared ${row.name} ${wordsOf(sharing)}`,
  )
}

/** Refuses shares with nobody. For every kind of object that is shared. */
export function checkSharing(
  tx: Transaction,
  { visibility, shares }: Sharing,
  team: string | undefined,
): void {
  if (visibility === 'team' && team === undefined)
    throw refusal('/visibility', 'it has no team; expected private or everyone')
  const seen = new Set<string>()
  for (const [at, { with: whom }] of shares.entries()) {
    const [kind = '', name = ''] = whom.split(/:(.*)/, 2)
    if (seen.has(whom)) throw refusal(`/shares/${at}/with`, `${whom} is named twice`)
    seen.add(whom)
    const row = kind === 'team' ? tx.get('teams', name) : tx.get('users', name)
    if (!row) throw refusal(`/shares/${at}/with`, `there is no ${kind} ${name}`)
  }
}

const refusal = (pointer: string, message: string) =>
  new ProblemError('invalid_request', message, { errors: [{ pointer, message }] })

function wordsOf({ visibility, shares }: Sharing): string {
  const base = { private: 'with nobody', team: 'with its team', everyone: 'with everyone' }[visibility]
  const named = shares.map(({ with: whom, level }) => `${whom.replace(':', ' ')} (${level})`)
  if (!named.length) return base
  const list = named.length > 5 ? `${named.length} others` : named.join(', ')
  return visibility === 'private' ? `with ${list}` : `${base} and ${list}`
}
