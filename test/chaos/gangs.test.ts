import { expect, it } from 'vitest'
import { killDuringGangs, wrongGangs } from './gangs.ts'

it('a gang whose leader dies while it is placed is placed whole by the next, or was already', async () => {
  const said: string[] = []
  // Figures of time are for `npm run chaos -- --gangs 100`: how fast this machine is decides them.
  const outcomes = await killDuringGangs(3, 60, (line) => said.push(line))
  expect(wrongGangs(outcomes, Infinity), said.join('\n')).toEqual([])
  expect(outcomes.map(({ placed }) => placed.at(-1))).toEqual([16, 16, 16])
})
