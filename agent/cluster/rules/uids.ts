import { ProblemError } from '../../../contract/index.ts'
import type { State } from '../state.ts'
import type { Transaction } from '../transaction.ts'

/** User ids from here on are far above those that hosts give to their own people. */
const firstUid = 20_000

/** Gives somebody of an earlier version a user id, which the containers of their work need. */
export function ensureUid(tx: Transaction, name: string): void {
  const row = tx.get('users', name)
  if (row && row.uid === undefined) tx.put('users', name, { ...row, uid: nextUid(tx.state) })
}

/** The next that nobody has or had. */
export function nextUid({ users, formerNames }: State): number {
  const taken = [...users.values(), ...formerNames.values()].map(({ uid = 0 }) => uid)
  return Math.max(firstUid - 1, ...taken) + 1
}

/** No two people have the same, and nobody that of somebody who was here before: their files may be left. */
export function checkUid({ users, formerNames }: State, uid: number, name: string): void {
  const other = users.find((row) => row.uid === uid && row.name !== name)
  const former = formerNames.findKey((row) => row.uid === uid)
  if (!other && former === undefined) return
  const holder = other?.name ?? `${former?.replace(/^user:/, '')}, who was deleted`
  throw new ProblemError('already_exists', `the user id ${uid} is that of ${holder}`, {
    hint: 'Choose another, or leave it out: the next one that is free is taken.',
  })
}
