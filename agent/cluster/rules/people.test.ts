import { beforeEach, describe, expect, it } from 'vitest'
import { type Actor, ProblemError, type Sharing } from '../../../contract/index.ts'
import { apply } from '../apply.ts'
import type { Command } from '../commands.ts'
import type { PeopleCommand } from '../commands/people.ts'
import { emptyState } from '../transaction.ts'
import type { State, TableName } from '../state.ts'

const root: Actor = { kind: 'user', name: 'root', rank: 'admin' }
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
const refused = (command: Command, code: string, message?: RegExp) => {
  const before = state
  expect(() => run(command)).toThrow(
    expect.objectContaining({
      code,
      ...(message ? { message: expect.stringMatching(message) as string } : {}),
    }),
  )
  expect(state).toBe(before)
}
const user = (name: string, more: Partial<Extract<PeopleCommand, { type: 'user.create' }>> = {}): void => {
  run({ type: 'user.create', name, rank: 'member', password_hash: 'hash', ...more })
}
const signIn = (name: string, sha256: string, more: object = {}) =>
  run({ type: 'token.create', sha256, user: name, expires_at: '2030-01-01T00:00:00.000Z', ...more })
const keys = (table: TableName) => [...state[table].keys()]

beforeEach(() => {
  state = emptyState
  index = 0
  told = []
  const admin = { name: 'root', password_hash: 'hash' }
  const node = { name: 'host-1', address: '10.0.0.1:7460' }
  run({ type: 'cluster.create', id: 'c', name: 'lab', ca: 'PEM', sealed_ca_key: 's', admin, node })
  told = []
})

describe('users', () => {
  it('have names that no other case of the same letters has, and that nobody new is ever given', () => {
    user('ana')
    refused(
      { type: 'user.create', name: 'ANA', rank: 'member', password_hash: 'h' },
      'already_exists',
      /named ana/,
    )
    run({ type: 'user.delete', name: 'ana' })
    for (const name of ['ana', 'Ana'])
      refused(
        { type: 'user.create', name, rank: 'member', password_hash: 'h' },
        'already_exists',
        /was deleted/,
      )
    expect(told).toEqual(['user.created', 'user.deleted'])
  })

  it('have user ids of their own, never those of somebody who was here before', () => {
    user('ana')
    user('bea', { uid: 30_000 })
    user('cleo')
    expect(['root', 'ana', 'bea', 'cleo'].map((name) => state.users.get(name)?.uid)).toEqual([
      20_000, 20_001, 30_000, 30_001,
    ])
    run({ type: 'user.delete', name: 'cleo' })
    user('dan')
    expect(state.users.get('dan')?.uid).toBe(30_002)
    refused(
      { type: 'user.create', name: 'eva', rank: 'member', password_hash: 'h', uid: 30_000 },
      'already_exists',
      /bea/,
    )
    refused(
      { type: 'user.edit', name: 'ana', change: { uid: 30_001 } },
      'already_exists',
      /cleo, who was deleted/,
    )
  })

  it('always have an admin among them who can sign in with a password kept here', () => {
    const last = 'the last admin'
    refused({ type: 'user.delete', name: 'root' }, 'conflict', new RegExp(last))
    refused({ type: 'user.edit', name: 'root', change: { disabled: true } }, 'conflict', new RegExp(last))
    refused({ type: 'user.edit', name: 'root', change: { rank: 'viewer' } }, 'conflict', new RegExp(last))
    user('directory', { rank: 'admin', source: 'ldap', password_hash: '' })
    refused({ type: 'user.delete', name: 'root' }, 'conflict', new RegExp(last))
    user('ana', { rank: 'admin' })
    run({ type: 'user.edit', name: 'ana', change: { disabled: true } })
    refused({ type: 'user.edit', name: 'root', change: { rank: 'member' } }, 'conflict', new RegExp(last))
    run({ type: 'user.edit', name: 'ana', change: { disabled: false } })
    run({ type: 'user.delete', name: 'root' })
    refused({ type: 'user.delete', name: 'ana' }, 'conflict', new RegExp(last))
  })

  it('lose tokens, memberships and their place when they are deleted; their work stays', () => {
    user('ana')
    run({ type: 'team.put', name: 'vision', change: {} })
    run({ type: 'team.member', team: 'vision', user: 'ana', rank: 'admin' })
    signIn('ana', 'a1')
    const spec = { name: 'train', type: 'script' as const, tags: [], team: 'vision', roles: {} }
    run({ type: 'experiment.create', id: 'exp-1', spec, owner: 'ana' })
    run({ type: 'user.delete', name: 'ana' })
    expect(keys('tokens')).toEqual([])
    expect(state.teams.get('vision')?.members).toEqual({})
    expect(state.experiments.get('exp-1')?.owner).toBe('ana')
  })

  it('lose all tokens when they are disabled, and get none until they are enabled', () => {
    user('ana')
    signIn('ana', 'a1')
    signIn('ana', 'a2', { kind: 'api', id: 'tok-2', name: 'ci', scopes: ['*'] })
    signIn('root', 'r1')
    run({ type: 'user.edit', name: 'ana', change: { disabled: true } })
    expect(keys('tokens')).toEqual(['r1'])
    expect(() => signIn('ana', 'a3')).toThrow(ProblemError)
    run({ type: 'user.edit', name: 'ana', change: { disabled: false } })
    signIn('ana', 'a3')
    expect(told.filter((code) => code.startsWith('user.'))).toEqual([
      'user.created', 'user.signed_in', 'user.signed_in', 'user.disabled', 'user.enabled', 'user.signed_in',
    ]) // prettier-ignore
  })

  it('end their other sign-ins by a new password, and all of them by a reset; programs go on', () => {
    user('ana')
    signIn('ana', 'a1')
    signIn('ana', 'a2')
    signIn('ana', 'a3', { kind: 'api', id: 'tok-3', name: 'ci', scopes: ['*'] })
    run({ type: 'user.password', name: 'ana', password_hash: 'new', must_change: false, keep: 'a2' })
    expect(keys('tokens').toSorted()).toEqual(['a2', 'a3'])
    run({ type: 'user.password', name: 'ana', password_hash: 'newer', must_change: true })
    expect(keys('tokens')).toEqual(['a3'])
    expect(state.users.get('ana')).toMatchObject({ password_hash: 'newer', must_change: true })
    user('dora', { source: 'ldap', password_hash: '' })
    refused(
      { type: 'user.password', name: 'dora', password_hash: 'x', must_change: true },
      'conflict',
      /ldap/,
    )
  })

  it('change only as whoever changes them saw them, and are told of only when they do', () => {
    user('ana')
    const version = state.users.get('ana')?.resource_version ?? 0
    run({ type: 'user.edit', name: 'ana', change: { rank: 'member', disabled: false } })
    expect(told).toEqual(['user.created'])
    run({ type: 'user.edit', name: 'ana', change: { rank: 'viewer' }, if_version: version })
    refused({ type: 'user.edit', name: 'ana', change: {}, if_version: version }, 'precondition_failed')
    refused({ type: 'user.edit', name: 'nobody', change: {} }, 'not_found')
  })

  it('of an earlier version get a user id when they sign in or submit', () => {
    const { uid: _, ...old } = state.users.get('root') ?? { name: 'root' }
    state = { ...state, users: state.users.set('root', old as never) }
    signIn('root', 'r1')
    expect(state.users.get('root')?.uid).toBe(20_000)
  })
})

describe('tokens', () => {
  it('are bounded: the oldest sign-in goes, a further API token is refused', () => {
    for (let at = 0; at < 203; at++) signIn('root', `s${at}`)
    expect(keys('tokens')).toHaveLength(200)
    expect(state.tokens.has('s2')).toBe(false)
    const api = (at: number) =>
      signIn('root', `k${at}`, { kind: 'api', id: `tok-${at}`, name: 'ci', scopes: ['*'] })
    for (let at = 0; at < 200; at++) api(at)
    expect(() => api(200)).toThrow(/200 API tokens/)
  })

  it('know when they were last used, and only forward', () => {
    signIn('root', 's1')
    const used = (at: string) =>
      run({
        type: 'tokens.used',
        used: [
          { sha256: 's1', at },
          { sha256: 'gone', at },
        ],
      })
    used('2026-03-02T00:00:00.000Z')
    used('2026-03-01T12:00:00.000Z')
    expect(state.tokens.get('s1')?.last_used_at).toBe('2026-03-02T00:00:00.000Z')
    expect(keys('tokens')).toEqual(['s1'])
  })
})

describe('teams', () => {
  it('are of people who exist, each with a rank', () => {
    user('ana')
    run({ type: 'team.put', name: 'vision', change: { description: 'sees' } })
    refused({ type: 'team.member', team: 'vision', user: 'nobody', rank: 'member' }, 'not_found')
    refused({ type: 'team.member', team: 'none', user: 'ana', rank: 'member' }, 'not_found')
    refused({ type: 'team.member', team: 'vision', user: 'ana', rank: null }, 'not_found')
    refused({ type: 'team.member', team: 'vision', user: 'constructor', rank: null }, 'not_found')
    run({ type: 'team.member', team: 'vision', user: 'ana', rank: 'member' })
    run({ type: 'team.member', team: 'vision', user: 'ana', rank: 'admin' })
    expect(state.teams.get('vision')?.members).toEqual({ ana: 'admin' })
    run({ type: 'team.member', team: 'vision', user: 'ana', rank: null })
    expect(state.teams.get('vision')?.members).toEqual({})
  })

  it('are not deleted while something of theirs runs, nor is their name given again', () => {
    run({ type: 'team.put', name: 'vision', change: {} })
    const spec = { name: 'train', type: 'script' as const, tags: [], team: 'vision', roles: {} }
    run({ type: 'experiment.create', id: 'exp-1', spec, owner: 'root' })
    refused({ type: 'team.delete', name: 'vision' }, 'conflict', /exp|1 experiment/)
    run({ type: 'team.put', name: 'speech', change: {} })
    run({ type: 'team.delete', name: 'speech' })
    refused({ type: 'team.put', name: 'Speech', change: {} }, 'already_exists')
  })

  it('are charged for the work of their members only', () => {
    user('ana')
    run({ type: 'team.put', name: 'vision', change: {} })
    const spec = { name: 'train', type: 'script' as const, tags: [], team: 'vision', roles: {} }
    const submit = (id: string, owner: string): Command => ({ type: 'experiment.create', id, spec, owner })
    refused(submit('exp-1', 'ana'), 'forbidden', /no member of the team vision/)
    run({ type: 'team.member', team: 'vision', user: 'ana', rank: 'viewer' })
    refused(submit('exp-1', 'ana'), 'forbidden')
    run({ type: 'team.member', team: 'vision', user: 'ana', rank: 'member' })
    run(submit('exp-1', 'ana'))
  })
})

describe('sharing', () => {
  const share = (sharing: Sharing, id = 'exp-1'): Command => ({ type: 'experiment.share', id, sharing })
  beforeEach(() => {
    user('ana')
    const spec = { name: 'train', type: 'script' as const, tags: [], roles: {} }
    run({ type: 'experiment.create', id: 'exp-1', spec, owner: 'ana' })
  })

  it('is with people and teams that there are, each once', () => {
    run(share({ visibility: 'everyone', shares: [{ with: 'user:root', level: 'write' }] }))
    expect(state.experiments.get('exp-1')?.sharing?.visibility).toBe('everyone')
    refused(
      share({ visibility: 'private', shares: [{ with: 'team:none', level: 'read' }] }),
      'invalid_request',
    )
    const twice = [{ with: 'user:root', level: 'read' }, { with: 'user:root', level: 'run' }] as Sharing['shares'] // prettier-ignore
    refused(share({ visibility: 'private', shares: twice }), 'invalid_request', /twice/)
    refused(share({ visibility: 'team', shares: [] }), 'invalid_request', /no team/)
    expect(told.filter((code) => code === 'experiment.shared')).toHaveLength(1)
  })
})

it('remembers who uploaded a file', () => {
  const blob = { type: 'blob.create', sha256: 'f'.repeat(64), bytes: 1, holders: ['node-1'] } as const
  run({ ...blob, by: 'ana' })
  run({ ...blob, by: 'bea' })
  run({ ...blob, by: 'ana' })
  run(blob)
  expect(state.blobs.get('f'.repeat(64))?.uploaders).toEqual(['ana', 'bea'])
})
