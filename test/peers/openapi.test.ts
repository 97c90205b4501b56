import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Lab } from '../cluster/lab.ts'
import { outside } from '../setup/needs.ts'
import { schemathesis } from '../setup/schemathesis.ts'

const program = schemathesis()
/** Requests made from the document, good and bad ones, for so long. */
const seconds = 45
/** These end the sign-in that the rest is asked with, or the agent's patience with it, or never end. */
const left = '^/session|/password$|^/tokens|/watch'

let lab: Lab
beforeAll(async () => {
  lab = await Lab.start({ agents: 1 })
  const { id } = await lab.submit({ name: 'one', command: 'echo here', resources: 'cpu=1, memory=64Mi' })
  await lab.ended(id)
})
afterAll(() => lab.stop())

it(
  'no request that can be made from the OpenAPI document ends in an error of ours',
  { ...outside(program !== undefined, 'the Python package schemathesis'), timeout: 180_000 },
  async () => {
    const [agent] = lab.agents
    const args = [
      'run', `${agent?.url}/api/v2/openapi.json`, '--url', `${agent?.url}/api/v2`, '-H', `Authorization: Bearer ${lab.token}`,
      '--checks', 'not_a_server_error', '--phases', 'coverage,fuzzing', '--max-time', String(seconds), '--seed', '1',
      '--exclude-path-regex', left, '--continue-on-failure', '--suppress-health-check', 'all', '--warnings', 'off',
      '--generation-database', 'none', '--no-color',
    ] // prettier-ignore
    const child = spawn(program ?? '', args, { cwd: lab.folder })
    const [said, wrong] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    expect(child.exitCode, said + wrong).toBe(0)
    // It has asked, and was let in.
    expect(Number(/(\d+) generated/.exec(said)?.[1])).toBeGreaterThan(200)
    expect((await lab.client().call('me.get', {})).name).toBe('admin')
    expect(agent?.running).toBe(true)
  },
)
