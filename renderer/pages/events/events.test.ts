import { expect, test } from 'vitest'
import type { Event } from '../../../contract/objects.ts'
import { experiment, task } from '../../testing/objects.ts'
import { withoutEchoes } from './events.ts'

const about = (kind: Event['subject']['kind'], id: string): Event => ({
  id: `${kind}-${id}`,
  at: '2026-01-31T12:00:00Z',
  code: `${kind}.running`,
  subject: { kind, id },
  message: '',
  reason: null,
  actor: 'system',
})

test('a lone task only repeats its experiment; of several each tells its own', () => {
  const experiments = [
    experiment({ id: 'lone', tasks: [task({ id: 'lone-0' })] }),
    experiment({ id: 'pair', tasks: [task({ id: 'pair-0' }), task({ id: 'pair-1' })] }),
  ]
  const events = [
    about('experiment', 'lone'),
    about('task', 'lone-0'),
    about('task', 'pair-1'),
    about('task', 'deleted-0'),
    about('node', 'lone-0'),
  ]
  expect(withoutEchoes(events, experiments).map(({ id }) => id)).toEqual([
    'experiment-lone',
    'task-pair-1',
    'task-deleted-0',
    'node-lone-0',
  ])
})
