import { expect, test } from 'vitest'
import { calledFor } from './called.ts'
import type { Workload } from './workloads.ts'

type Known = Pick<Workload, 'name' | 'owner' | 'team' | 'visibility' | 'shared'>
const work = (more: Partial<Known> = {}): Known => ({ name: 'hidden', owner: 'ana', team: null, visibility: 'private', shared: false, ...more }) // prettier-ignore
const team = { team: 'bio', visibility: 'team' } as const

test.each<[string, Partial<Known>, Partial<Known>]>([
  ['their own, beside their own', {}, {}],
  ['their own, where the other is their team’s', {}, { ...team }],
  [
    'what everyone may see',
    { owner: 'otto', visibility: 'everyone', shared: true },
    { visibility: 'everyone' },
  ],
  ['the team’s, beside another of the team', { owner: 'otto', ...team }, { ...team }],
  [
    'the team’s, beside a private one for the team',
    { owner: 'otto', ...team, visibility: 'private' },
    { ...team },
  ],
])('is called by its name: %s', (_, reader, other) => {
  expect(calledFor(work({ ...reader, name: 'reader' }), work(other))).toBe('hidden')
})

test.each<[string, Partial<Known>, Partial<Known>]>([
  ['somebody else’s', { owner: 'otto' }, {}],
  ['their own, beside one that everyone may see', { visibility: 'everyone' }, {}],
  ['their own, beside one that is shared by name', { shared: true }, {}],
  ['their own, beside one that their team sees', { ...team }, {}],
  [
    'their own for no team, beside one of which the team’s admins know',
    { ...team, visibility: 'private' },
    {},
  ],
  [
    'the team’s, beside one that is shared with others',
    { owner: 'otto', ...team, shared: true },
    { ...team },
  ],
  ['another team’s', { owner: 'otto', ...team, team: 'nlp' }, { ...team }],
])('is called by whose it is: %s', (_, reader, other) => {
  expect(calledFor(work({ ...reader, name: 'reader' }), work(other))).toBe('work of ana')
})

test('is called by whose it is where nobody in particular reads', () => {
  expect(calledFor(undefined, work())).toBe('work of ana')
})
