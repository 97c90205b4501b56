import { describe, expect, test } from 'vitest'
import { sharingText, withoutShare, withShare } from './sharing.ts'

describe('who something is shared with', () => {
  test('is there once, with what was said last', () => {
    const once = withShare([], { with: 'user:ana', level: 'read' })
    const both = withShare(once, { with: 'team:bio', level: 'run' })
    expect(withShare(both, { with: 'user:ana', level: 'write' })).toEqual([
      { with: 'team:bio', level: 'run' },
      { with: 'user:ana', level: 'write' },
    ])
    expect(withoutShare(both, 'user:ana')).toEqual([{ with: 'team:bio', level: 'run' }])
  })

  test('is told in a line', () => {
    const shares = [
      { with: 'user:ana', level: 'read' },
      { with: 'team:bio', level: 'run' },
    ] as const
    expect(sharingText({ visibility: 'private', shares: [] }, null)).toBe('nobody else')
    expect(sharingText({ visibility: 'private', shares: [...shares] }, null)).toBe('ana, team bio')
    expect(sharingText({ visibility: 'team', shares: [] }, 'vision')).toBe('team vision')
    expect(sharingText({ visibility: 'everyone', shares: [...shares] }, 'vision')).toBe(
      'everyone, ana, team bio',
    )
  })
})
