import { expect, it } from 'vitest'
import { problemIn } from './problem.ts'

const written = (value: unknown) => encodeURIComponent(JSON.stringify(value))

it('a problem is told with its words; what anybody else wrote is not', () => {
  expect(problemIn(written({ code: 'forbidden', detail: 'not in the group', hint: 'Ask.' }))).toMatchObject({
    code: 'forbidden',
    message: 'not in the group',
    hint: 'Ask.',
  })
  for (const text of ['%', 'null', written({ code: 'toString' }), written({ code: 1 }), written([])])
    expect(problemIn(text)).toBeUndefined()
})
