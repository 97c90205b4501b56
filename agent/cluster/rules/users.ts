import { ProblemError } from '../../../contract/index.ts'
import type { PeopleCommand, UserChange } from '../commands/people.ts'
import type { State, UserRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { checkNew, retire } from './names.ts'
import { removeThoseOf } from './secrets.ts'
import { leaveTeams } from './teams.ts'
import { endTokens } from './tokens.ts'
import { checkUid, nextUid } from './uids.ts'
import { checkVersion } from './versions.ts'

type Of<T extends PeopleCommand['type']> = Extract<PeopleCommand, { type: T }>
export type NewUser = Omit<Of<'user.create'>, 'type'>

export function create(tx: Transaction, { type: _, ...user }: Of<'user.create'>): void {
  addUser(tx, user)
  tx.event('user.created', subject(user.name), `${tx.who} made the account of ${user.name}, a ${user.rank}`)
}

/** Whoever makes people, makes them here. The caller tells of it. */
export function addUser(tx: Transaction, { uid, ...user }: NewUser): UserRow {
  checkNew(tx, 'user', user.name)
  if (uid !== undefined) checkUid(tx.state, uid, user.name)
  const row = { ...user, created_at: tx.at, uid: uid ?? nextUid(tx.state) }
  tx.put('users', user.name, row)
  return tx.need('users', user.name, 'user')
}

export function edit(tx: Transaction, { name, change, if_version }: Of<'user.edit'>): void {
  const before = tx.need('users', name, 'user')
  checkVersion(`the user ${name}`, before.resource_version, if_version)
  if (change.uid !== undefined) checkUid(tx.state, change.uid, name)
  const next: UserRow = { ...before, ...change }
  if (isMainstay(before) && !isMainstay(next)) checkAnother(tx.state, name)
  const differs = (Object.keys(change) as (keyof UserChange)[]).filter((key) => before[key] !== next[key])
  const told = differs.filter((key) => key !== 'disabled' || before.disabled === true || next.disabled)
  if (!told.length) return
  tx.put('users', name, next)
  if (told.includes('disabled')) tellDisabled(tx, next)
  const others = told.filter((key) => key !== 'disabled')
  if (others.length)
    tx.event(
      'user.changed',
      subject(name),
      `${tx.who} changed ${others.map(wordOf(next)).join(', ')} of ${name}`,
    )
}

const wordOf =
  (next: UserRow) =>
  (key: keyof UserChange): string =>
    key === 'rank' || key === 'uid' ? `the ${key} (${next[key]})` : key.replace('_', ' ')

function tellDisabled(tx: Transaction, { name, disabled }: UserRow): void {
  if (!disabled) return tx.event('user.enabled', subject(name), `${tx.who} enabled ${name}`)
  endTokens(tx, name)
  tx.event('user.disabled', subject(name), `${tx.who} disabled ${name}: every token of theirs ended`)
}

export function setPassword(
  tx: Transaction,
  { name, password_hash, must_change, keep }: Of<'user.password'>,
): void {
  const before = tx.need('users', name, 'user')
  if (before.source !== undefined)
    throw new ProblemError('conflict', `the password of ${name} is kept by ${before.source}, not here`, {
      hint: 'Change it there.',
    })
  tx.put('users', name, { ...before, password_hash, must_change })
  endTokens(tx, name, ([key, token]) => key !== keep && token.kind !== 'api' && token.only === undefined)
  const [code, did] = must_change
    ? (['user.password_reset', `${tx.who} gave ${name} a one-time password`] as const)
    : (['user.password_changed', `${tx.who} changed the password of ${name}`] as const)
  tx.event(code, subject(name), did)
}

export function rehash(tx: Transaction, { name, before, password_hash }: Of<'user.rehash'>): void {
  const row = tx.get('users', name)
  // The password was changed meanwhile: the new one stays.
  if (row?.password_hash === before) tx.put('users', name, { ...row, password_hash })
}

/** What they made stays under their name, which nobody else is ever given. */
export function remove(tx: Transaction, { name }: Of<'user.delete'>): void {
  const row = tx.need('users', name, 'user')
  if (isMainstay(row)) checkAnother(tx.state, name)
  endTokens(tx, name)
  leaveTeams(tx, name)
  removeThoseOf(tx, name)
  tx.delete('users', name)
  retire(tx, 'user', name, row.uid)
  tx.event('user.deleted', subject(name), `${tx.who} deleted the account of ${name}`)
}

/** An admin who can sign in whatever becomes of identity providers. */
const isMainstay = ({ rank, disabled, source }: UserRow): boolean =>
  rank === 'admin' && !disabled && source === undefined

function checkAnother({ users }: State, name: string): void {
  if (users.some((other) => other.name !== name && isMainstay(other))) return
  throw new ProblemError('conflict', `${name} is the last admin who can sign in with a password kept here`, {
    hint: 'Make another person an admin first: `submarine user edit NAME --rank admin`.',
  })
}

const subject = (id: string) => ({ kind: 'user', id }) as const
