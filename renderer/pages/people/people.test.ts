import { expect, it } from 'vitest'
import type { Team, User } from '../../../contract/people.ts'
import { accountState, leads, scopesFrom, scopesText } from './people.ts'

const person = (more: Partial<User>): User => ({ name: 'ana', rank: 'member', created_at: '2026-03-01T00:00:00Z', ...more }) // prettier-ignore

it('an account is disabled, has a one-time password, or is in use', () => {
  expect(accountState(person({})).text).toBe('active')
  expect(accountState(person({ must_change: true })).text).toBe('one-time password')
  expect(accountState(person({ must_change: true, disabled: true })).text).toBe('disabled')
})

it('a team is led by its admins and those of the cluster', () => {
  const team: Team = { name: 'bio', description: '', groups: [], created_at: '', resource_version: 1, members: [{ user: 'ana', rank: 'admin' }, { user: 'mia', rank: 'member' }] } // prettier-ignore
  expect(leads(person({}), team)).toBe(true)
  expect(leads(person({ name: 'mia' }), team)).toBe(false)
  expect(leads(person({ name: 'root', rank: 'admin' }), team)).toBe(true)
  expect(leads(undefined, team)).toBe(false)
})

it('scopes are typed as people separate them, and nothing is everything', () => {
  expect(scopesFrom(' experiment:*,  *:read ')).toEqual(['experiment:*', '*:read'])
  expect(scopesFrom('')).toEqual(['*'])
  expect(scopesText(['*'])).toBe('all that you may')
})
