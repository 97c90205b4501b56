import { describe, expect, it } from 'vitest'
import { ProblemError } from '../../contract/problem.ts'
import { describeFailure, exitCodeOf, UsageError } from '../failure.ts'
import { wantsColour } from '../terminal.ts'
import { plain, table } from './table.ts'

describe('output', () => {
  it('aligns columns whatever colour their cells have, and ends no line in blanks', () => {
    const red = '\u001b[31mno\u001b[39m'
    const text = table(
      [
        { title: 'A', cell: (x: string) => x },
        { title: 'B', cell: () => '' },
      ],
      ['longer', red],
    )
    expect(text).toBe(`A       B\nlonger\n${red}\n`)
  })

  it('lets no text of others move the cursor or break a line', () => {
    expect(plain('a\u001b[2Jb\nc\u0007d\u009b1m')).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
    expect(plain('a\u2028b\u202ec\u2066d\u200fe')).toBe('a b c d e')
  })

  it('colours terminals only, and none where NO_COLOR is set', () => {
    expect(wantsColour(true, {})).toBe(true)
    expect(wantsColour(true, { NO_COLOR: '1' })).toBe(false)
    expect(wantsColour(true, { NO_COLOR: '' })).toBe(true)
    expect(wantsColour(true, { TERM: 'dumb' })).toBe(false)
    expect(wantsColour(false, {})).toBe(false)
  })

  it('tells a failure with its fields and its hint, and has a code for each kind', () => {
    const error = new ProblemError('invalid_spec', 'wrong', {
      errors: [{ pointer: '/name', message: 'expected a name' }],
    })
    expect(describeFailure(error)).toBe(
      'error: wrong\n  /name  expected a name\nhint: Correct the fields listed under errors.\n',
    )
    const alone = new ProblemError('no_leader', 'none', { hint: 'Ask for consistency=local to read a copy.' })
    expect(describeFailure(alone)).toMatch(/^error: none\nhint: .*`submarine cluster status --local`/)
    expect(describeFailure(alone)).not.toContain('consistency=')
    const codes = ['not_found', 'forbidden', 'conflict', 'no_leader', 'internal', 'invalid_spec'] as const
    expect(codes.map((code) => exitCodeOf(new ProblemError(code)))).toEqual([3, 4, 5, 6, 1, 2])
    expect(exitCodeOf(new UsageError('x'))).toBe(2)
    expect(exitCodeOf('anything')).toBe(1)
  })
})
