import { expect, it } from 'vitest'
import { readable } from './log-lines.ts'
import { createLog } from './log.ts'
import { serve } from './testing/served.ts'

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

it('holds none in an address, a message or the text of an error either', () => {
  const token = `sdc_${'a1-_'.repeat(10)}`
  const [line = ''] = logged((log) =>
    log
      .child({ where: `https://ana:hunter2@git.lab/${token}` })
      .warn(
        { err: new Error(`refused: Bearer ${token}`), url: `/api/v2/x?limit=3&password=hunter2&${token}` },
        token,
      ),
  )
  expect(line).not.toMatch(/hunter2|a1-_/)
  expect(JSON.parse(line)).toMatchObject({
    where: 'https://[secret]@git.lab/sdc_[secret]',
    url: '/api/v2/x?limit&password&sdc_[secret]',
    msg: 'sdc_[secret]',
  })
})

it('keeps nothing of what clients send to prove who they are, wherever they put it', async () => {
  const served = await serve()
  const token = served.world.signIn()
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const body = (value: object) => ({ method: 'POST', body: JSON.stringify(value), headers })
  await served.fetch(`/api/v2/me?token=${token}&password=hunter2`, { headers })
  await served.fetch(`/api/v2/${token}`)
  await served.fetch('/api/v2/session', body({ user: 'admin', password: 'hunter2' }))
  await served.fetch(`/api/v2/session?password=hunter2`, { ...body({}), body: '{"password":"hunter2",' })
  await served.fetch('/api/v2/sign-in/lab/callback?code=hunter2&state=hunter2')
  await served.fetch('/api/v2/secrets/s3', { ...body({ value: 'hunter2' }), method: 'PUT' })
  await served.close()
  const lines = served.logged.join('')
  expect(served.logged.length).toBeGreaterThanOrEqual(6)
  expect(lines).toContain('/api/v2/me?token&password')
  expect(lines).not.toContain('hunter2')
  expect(lines).not.toContain(token)
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
