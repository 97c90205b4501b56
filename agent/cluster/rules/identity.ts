import { ProblemError, type ProviderSettings } from '../../../contract/index.ts'
import type { IdentityCommand } from '../commands/identity.ts'
import type { IdentityProviderRow, TeamRow, UserRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { checkKey } from './cluster-key.ts'
import { endTokens } from './tokens.ts'
import { addUser } from './users.ts'
import { checkVersion } from './versions.ts'

type Of<T extends IdentityCommand['type']> = Extract<IdentityCommand, { type: T }>
type Sync = Of<'user.sync'>

export function put(
  tx: Transaction,
  { name, settings, sealed, if_version }: Of<'identityProvider.put'>,
): void {
  checkKey(tx, sealed)
  const before = tx.get('identityProviders', name)
  checkVersion(`the identity provider ${name}`, before?.resource_version ?? 0, if_version)
  if (before) checkSamePeople(tx, before, settings)
  tx.put('identityProviders', name, {
    name,
    settings,
    sealed: sealed === undefined ? (before?.sealed ?? null) : sealed,
    added_at: before?.added_at ?? tx.at,
    added_by: before?.added_by ?? tx.actor,
  })
  const [code, did] = before
    ? (['identity_provider.changed', 'changed what is told of'] as const)
    : (['identity_provider.added', 'added'] as const)
  tx.event(code, subject(name), `${tx.who} ${did} the identity provider ${name}`)
}

/** The ids by which people are known mean somebody else at another provider. */
function checkSamePeople(
  tx: Transaction,
  { name, settings: was }: IdentityProviderRow,
  is: ProviderSettings,
) {
  const same = was.kind === 'oidc' && is.kind === 'oidc' ? was.issuer === is.issuer : was.kind === is.kind
  if (same || !tx.state.users.some((user) => user.source === name)) return
  throw new ProblemError(
    'conflict',
    `people came by ${name}, and another provider would take others for them`,
    {
      hint: 'Add the other one under a name of its own.',
    },
  )
}

export function remove(tx: Transaction, { name }: Of<'identityProvider.delete'>): void {
  tx.need('identityProviders', name, 'identity provider')
  tx.delete('identityProviders', name)
  for (const user of tx.state.users.values()) if (user.source === name) endTokens(tx, user.name)
  tx.event('identity_provider.removed', subject(name), `${tx.who} removed the identity provider ${name}`)
}

/** Makes the person if there is none, and brings rank and teams up to what their groups say. Answers their name. */
export function sync(tx: Transaction, command: Sync): { name: string } {
  const provider = tx.need('identityProviders', command.provider, 'identity provider')
  const { settings } = provider
  if (!settings.enabled) throw new ProblemError('forbidden', `nobody signs in by ${provider.name} at present`)
  const isIn = membership(provider, command.groups)
  if (settings.allowed_groups.length > 0 && !isIn(settings.allowed_groups))
    throw new ProblemError('forbidden', 'you are in none of the groups that may sign in here', {
      hint: 'Ask those who run the cluster which group you should be in.',
    })
  const known = whoIs(tx, command)
  if (known?.disabled)
    throw new ProblemError('forbidden', `the account of ${known.name} is disabled`, {
      hint: 'Ask an admin of the cluster.',
    })
  const rank = isIn(settings.admin_groups) ? 'admin' : settings.rank
  const user = known ?? newUser(tx, command, rank)
  refresh(tx, user.name, command, settings.admin_groups.length > 0 ? rankNow(user, rank) : user.rank)
  for (const team of tx.state.teams.values())
    if (team.groups.length > 0 || isSynced(team, user.name)) join(tx, team, user.name, isIn(team.groups))
  return { name: user.name }
}

/**
 * By the provider's own id, so that whoever is renamed there stays who they are here. A name alone is enough only for an
 * account that an admin made for this provider and that nobody has used: never for one of somebody else.
 */
function whoIs({ state }: Transaction, { provider, external_id, name }: Sync): UserRow | undefined {
  const known = state.users.find((user) => user.source === provider && user.external_id === external_id)
  if (known) return known
  const low = name.toLowerCase()
  const same = state.users.find((user) => user.name.toLowerCase() === low)
  if (!same || (same.source === provider && same.external_id === undefined)) return same
  const whose = same.source === undefined ? 'of an account with a password kept here' : 'of somebody else'
  throw new ProblemError('conflict', `the name ${name} is that ${whose}`, {
    hint: 'Two people cannot have one name. Ask an admin of the cluster.',
  })
}

function newUser(tx: Transaction, { provider, name }: Sync, rank: UserRow['rank']): UserRow {
  const user = addUser(tx, { name, rank, password_hash: '', source: provider })
  const message = `${name} came by ${provider} for the first time, as ${rank === 'admin' ? 'an' : 'a'} ${rank}`
  tx.event('user.created', { kind: 'user', id: name }, message)
  return user
}

/** With groups for admins, only these make admins; who is no admin keeps what was given here. */
const rankNow = (user: UserRow, byGroups: UserRow['rank']): UserRow['rank'] =>
  byGroups === 'admin' || user.rank === 'admin' ? byGroups : user.rank

function refresh(
  tx: Transaction,
  name: string,
  { external_id, display_name, email }: Sync,
  rank: UserRow['rank'],
): void {
  const before = tx.need('users', name, 'user')
  const { display_name: _d, email: _e, ...rest } = before
  const next: UserRow = {
    ...rest,
    rank,
    external_id,
    ...(display_name === undefined ? {} : { display_name }),
    ...(email === undefined ? {} : { email }),
  }
  const keys = ['rank', 'external_id', 'display_name', 'email'] as const
  if (keys.every((key) => before[key] === next[key])) return
  tx.put('users', name, next)
  if (before.rank === rank) return
  const message = `${name} is ${rank === 'admin' ? 'an admin' : `a ${rank}`} now, as their groups say`
  tx.event('user.changed', { kind: 'user', id: name }, message)
}

const isSynced = (team: TeamRow, user: string): boolean => team.synced?.includes(user) ?? false

/** Only who came by a group goes with it: whom somebody made a member stays one. */
function join(tx: Transaction, team: TeamRow, user: string, isIn: boolean): void {
  const isMember = Object.hasOwn(team.members, user)
  const others = (team.synced ?? []).filter((one) => one !== user)
  if (isIn && !isMember) {
    tx.put('teams', team.name, {
      ...team,
      members: { ...team.members, [user]: 'member' },
      synced: [...others, user],
    })
    const message = `${user} is a member of the team ${team.name}, by a group`
    return tx.event('team.member_set', { kind: 'team', id: team.name }, message)
  }
  if (isIn || !isSynced(team, user)) return
  const { [user]: _, ...members } = team.members
  tx.put('teams', team.name, { ...team, members, synced: others })
  if (!isMember) return
  const message = `${user} is a member of the team ${team.name} no longer: they are in none of its groups`
  tx.event('team.member_removed', { kind: 'team', id: team.name }, message)
}

/**
 * Is somebody in one of these groups? A group is named as its provider names it, or after the provider's name and a
 * colon. Directories do not tell capitals apart.
 */
export function membership({ name, settings }: IdentityProviderRow, groups: readonly string[]) {
  const fold = (group: string) => (settings.kind === 'ldap' ? group.toLowerCase() : group)
  const all = new Set(groups.flatMap((group) => [fold(group), `${name}:${fold(group)}`]))
  const own = `${name}:`
  return (wanted: readonly string[]): boolean =>
    wanted.some((one) => all.has(one.startsWith(own) ? own + fold(one.slice(own.length)) : fold(one)))
}

const subject = (id: string) => ({ kind: 'identity_provider', id }) as const
