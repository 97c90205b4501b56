import { expect, it } from 'vitest'
import { readable } from './log-lines.ts'
import { createLog } from './log.ts'

function logged(write: (log: ReturnType<typeof createLog>) => void): string[] {
  const lines: string[] = []
  write(createLog('debug', { write: (line) => lines.push(line) }).child({ agent: 'node-1' }))
  return lines
}

it('is one JSON object a line: time, level in words, agent, message, and what it is about', () => {
  const lines = logged((log) => log.warn({ err: new Error('no route'), task: 't-1' }, 'trying again'))
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    level: 'warn',
    agent: 'node-1',
    msg: 'trying again',
    task: 't-1',
    err: { type: 'Error', message: 'no route', stack: expect.stringContaining('log.test.ts') },
  })
})

it('holds no credential', () => {
  const lines = logged((log) => log.info({ token: 'sdc_1', headers: { authorization: 'Bearer sdc_2' } }, 'x'))
  expect(lines.join()).not.toContain('sdc_')
})

it('is a line for people on a terminal, with the stack of what failed', () => {
  const [info = '', error = ''] = logged((log) => {
    log.info({ node: 'node-2', gpus: 2, what: 'two words' }, 'reported')
    log.error({ err: new Error('no route') }, 'a pass failed')
  })
  expect(readable(info, false)).toMatch(
    /^\d\d:\d\d:\d\d\.\d{3} INFO {2}reported node=node-2 gpus=2 what="two words"\n$/,
  )
  expect(readable(error, false)).toMatch(/ ERROR a pass failed: no route\n {4}Error: no route\n {4,}at /)
  expect(readable(error, true)).toContain('\u001b[31m')
})
