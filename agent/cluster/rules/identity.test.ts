import { beforeEach, describe, expect, it } from 'vitest'
import { type Actor, ProblemError, ProviderSettings } from '../../../contract/index.ts'
import { apply } from '../apply.ts'
import type { Command } from '../commands.ts'
import type { IdentityCommand } from '../commands/identity.ts'
import type { State } from '../state.ts'
import { emptyState } from '../transaction.ts'

const root: Actor = { kind: 'user', name: 'root', rank: 'admin' }
const system: Actor = { kind: 'system' }
const ldap = { kind: 'ldap', urls: ['ldaps://dc1.lab.example'], user_base: 'dc=lab' }
const oidc = { kind: 'oidc', issuer: 'https://id.lab.example', client_id: 'submarine' }
let state: State
let index: number
let told: string[]

function run(command: Command, actor = root): unknown {
  const at = new Date(Date.UTC(2026, 2, 1) + ++index * 1000).toISOString()
  const made = apply(state, index, { v: 1, at, actor, command })
  if ('problem' in made.outcome) throw made.outcome.problem
  state = made.state
  told.push(...made.events.map(({ code }) => code))
  return made.outcome.value
}
function refused(command: Command, code: string): ProblemError {
  const before = state
  try {
    run(command, system)
  } catch (error) {
    expect(error).toBeInstanceOf(ProblemError)
    expect((error as ProblemError).code).toBe(code)
    expect(state).toBe(before)
    return error as ProblemError
  }
  throw new Error('it was allowed')
}
const provider = (name: string, settings: object, more: object = {}) =>
  run({ type: 'identityProvider.put', name, settings: ProviderSettings.parse(settings), ...more })
type Sync = Extract<IdentityCommand, { type: 'user.sync' }>
const coming = (name: string, more: Partial<Sync> = {}): Sync => ({
  type: 'user.sync',
  provider: 'lab',
  external_id: `id of ${name}`,
  name,
  groups: [],
  ...more,
})
const come = (name: string, more: Partial<Sync> = {}) => run(coming(name, more), system)
const user = (name: string) => state.users.get(name)
const team = (name: string, groups: string[]) => run({ type: 'team.put', name, change: { groups } })
const members = (name: string) => Object.keys(state.teams.get(name)?.members ?? {})

beforeEach(() => {
  state = emptyState
  index = 0
  told = []
  const admin = { name: 'root', password_hash: 'hash' }
  const node = { name: 'host-1', address: '10.0.0.1:7460' }
  run({ type: 'cluster.create', id: 'c', name: 'lab', ca: 'PEM', sealed_ca_key: 's', admin, node })
  provider('lab', ldap)
  told = []
})

describe('an identity provider', () => {
  it('keeps its secret when its settings change, and loses it when it is told to', () => {
    provider('lab', ldap, { sealed: 'sealed' })
    provider('lab', { ...ldap, title: 'The lab' })
    expect(state.identityProviders.get('lab')).toMatchObject({ sealed: 'sealed', settings: { title: 'The lab' } })
    provider('lab', ldap, { sealed: null })
    expect(state.identityProviders.get('lab')?.sealed).toBeNull()
    expect(new Set(told)).toEqual(new Set(['identity_provider.changed']))
  }) // prettier-ignore

  it('is changed only as it was seen', () => {
    const settings = ProviderSettings.parse(ldap)
    refused({ type: 'identityProvider.put', name: 'lab', settings, if_version: 1 }, 'precondition_failed')
  })

  it('cannot become another one while people came by it: they would be taken for others', () => {
    come('ana')
    const settings = ProviderSettings.parse(oidc)
    refused({ type: 'identityProvider.put', name: 'lab', settings }, 'conflict')
  })

  it('takes the sign-ins of its people along', () => {
    come('ana')
    const expires_at = '2030-01-01T00:00:00.000Z'
    run({ type: 'token.create', sha256: 'a', user: 'ana', expires_at })
    run({ type: 'token.create', sha256: 'r', user: 'root', expires_at })
    run({ type: 'identityProvider.delete', name: 'lab' })
    expect([...state.tokens.keys()]).toEqual(['r'])
    refused(coming('ana'), 'not_found')
    expect(user('ana')).toBeDefined()
  })
})

describe('somebody for whom a provider vouches', () => {
  it('is made known the first time, and stays who they are when they are renamed there', () => {
    expect(come('ana', { display_name: 'Ana M', email: 'ana@lab.example' })).toEqual({ name: 'ana' })
    expect(user('ana')).toMatchObject({ rank: 'member', source: 'lab', password_hash: '' })
    expect(user('ana')?.uid).toBeGreaterThanOrEqual(20_000)
    expect(come('anna', { external_id: 'id of ana', display_name: 'Anna' })).toEqual({ name: 'ana' })
    expect(user('ana')).toMatchObject({ display_name: 'Anna' })
    expect(user('ana')?.email).toBeUndefined()
    expect(user('anna')).toBeUndefined()
    expect(told).toEqual(['user.created'])
  })

  it('never becomes an account with a password kept here, whatever the case of its letters', () => {
    refused(coming('root'), 'conflict')
    refused(coming('ROOT'), 'conflict')
    expect(user('root')).toMatchObject({ password_hash: 'hash' })
  })

  it('never becomes somebody of another provider, nor a namesake of the same', () => {
    provider('other', oidc)
    come('ana')
    refused(coming('ana', { provider: 'other' }), 'conflict')
    refused(coming('ana', { external_id: 'another ana' }), 'conflict')
  })

  it('takes the account that an admin made for them', () => {
    run({ type: 'user.create', name: 'ana', rank: 'viewer', password_hash: '', source: 'lab', uid: 30_000 })
    come('ana')
    expect(user('ana')).toMatchObject({ rank: 'viewer', uid: 30_000, external_id: 'id of ana' })
  })

  it('does not get in when disabled here, deleted here, or when the provider is', () => {
    come('ana')
    run({ type: 'user.edit', name: 'ana', change: { disabled: true } })
    refused(coming('ana'), 'forbidden')
    come('ben')
    run({ type: 'user.delete', name: 'ben' })
    refused(coming('ben'), 'already_exists')
    provider('lab', { ...ldap, enabled: false })
    refused(coming('chris'), 'forbidden')
  })

  it('has to be in a group that may sign in, if there are such', () => {
    provider('lab', { ...ldap, allowed_groups: ['ML'] })
    refused(coming('ana', { groups: ['staff'] }), 'forbidden')
    expect(come('ana', { groups: ['ml'] })).toEqual({ name: 'ana' })
  })

  it('is an admin as long as the admins’ group says so', () => {
    provider('lab', { ...ldap, admin_groups: ['admins'] })
    come('ana', { groups: ['admins'] })
    expect(user('ana')?.rank).toBe('admin')
    come('ana')
    expect(user('ana')?.rank).toBe('member')
    expect(told).toContain('user.changed')
  })

  it('keeps the rank that was given here when no group makes admins', () => {
    come('ana')
    run({ type: 'user.edit', name: 'ana', change: { rank: 'admin' } })
    come('ana')
    expect(user('ana')?.rank).toBe('admin')
  })

  it('is in the teams of their groups, and leaves them with the group; others’ doing stays', () => {
    team('vision', ['ml', 'lab:robots'])
    team('speech', ['elsewhere:ml'])
    team('guests', [])
    run({ type: 'team.member', team: 'guests', user: 'root', rank: 'member' })
    come('ana', { groups: ['ML'] })
    expect([members('vision'), members('speech')]).toEqual([['ana'], []])
    run({ type: 'team.member', team: 'guests', user: 'ana', rank: 'viewer' })
    come('ana', { groups: ['Robots'] })
    expect(members('vision')).toEqual(['ana'])
    come('ana')
    expect([members('vision'), members('guests')]).toEqual([[], ['root', 'ana']])
    expect(told.filter((code) => code.startsWith('team.member'))).toEqual([
      'team.member_set', 'team.member_set', 'team.member_set', 'team.member_removed',
    ]) // prettier-ignore
  })
})
