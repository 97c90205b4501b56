import { ProblemError } from '../../../contract/index.ts'
import type { Transaction } from '../transaction.ts'

type Kind = 'user' | 'team'
const tables = { user: 'users', team: 'teams' } as const

/**
 * Nobody may be taken for somebody else: not by another case of the same letters, and not under the name of somebody
 * who was here before, whose work is left.
 */
export function checkNew(tx: Transaction, kind: Kind, name: string): void {
  const low = name.toLowerCase()
  const same = tx.state[tables[kind]].findKey((_, key) => key.toLowerCase() === low)
  if (same !== undefined)
    throw new ProblemError('already_exists', `there is a ${kind} named ${same} already`, {
      hint: 'Choose another name; capitals alone do not make one.',
    })
  const former = tx.state.formerNames.findKey((_, key) => key.toLowerCase() === `${kind}:${low}`)
  if (former !== undefined)
    throw new ProblemError('already_exists', `${name} was the name of a ${kind} that was deleted`, {
      hint: 'What is left under a name must not become somebody else’s: choose another one.',
    })
}

/** Keeps a name from being given again. */
export function retire(tx: Transaction, kind: Kind, name: string, uid?: number): void {
  tx.put('formerNames', `${kind}:${name}`, { at: tx.at, ...(uid === undefined ? {} : { uid }) })
}
