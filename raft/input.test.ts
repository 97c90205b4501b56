import { expect, test } from 'vitest'
import { inMessages } from './input.ts'

test('commands for the leader leave in messages of bounded size, in their order', () => {
  const commands = [3, 4, 3, 12, 1, 1].map((length) => new Uint8Array(length))
  const lengths = inMessages(commands, 10).map((run) => run.map((c) => c.length))
  expect(lengths).toEqual([[3, 4, 3], [12], [1, 1]])
  expect(inMessages([], 10)).toEqual([])
})
