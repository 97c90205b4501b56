import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { serve, type Served } from '../../agent/http/testing/served.ts'
import { runCli } from '../../cli/testing/run-cli.ts'

let served: Served
beforeAll(async () => {
  served = await serve({ nodes: 1 })
  served.world.addUser('otto')
})
afterAll(() => served.close())

/** The command line of somebody. */
function as(user: string, input?: string) {
  const env = { SUBMARINE_ADDRESS: served.origin, SUBMARINE_TOKEN: served.world.signIn(user) }
  return (...args: string[]) => runCli(args, { env, ...(input === undefined ? {} : { input }) })
}
const ended = { code: 0, stderr: '' }

describe('the command line of people', () => {
  it('gives accounts, which begin with a one-time password', async () => {
    const admin = as('admin')
    const made = await admin('user', 'create', 'ana', '--display-name', 'Ana Li', '--rank', 'member')
    expect(made).toMatchObject(ended)
    expect(made.stdout).toMatch(/One-time password, shown this once: \S{10,}\n/)
    const password = /once: (\S+)/.exec(made.stdout)?.[1] ?? ''
    const ana = as('ana', `${password}\nmy own long password\n`)
    expect(await ana('experiment', 'list')).toMatchObject({ code: 4, stderr: expect.stringContaining('submarine passwd') as string }) // prettier-ignore
    expect(await ana('passwd', '--password-stdin')).toMatchObject({ code: 0 })
    expect((await ana('whoami')).stdout).toMatch(/name +ana\nrank +member\nstate +active\n/)
    expect(await as('ana')('experiment', 'list')).toMatchObject({ code: 0 })
    expect(await as('ana', 'one line\n')('passwd', '--password-stdin')).toMatchObject({ code: 2 })
  })

  it('changes them, and takes them away only when that is meant', async () => {
    const admin = as('admin')
    expect((await admin('user', 'edit', 'ana', '--rank', 'viewer')).stdout).toMatch(/rank +viewer/)
    expect(await admin('user', 'edit', 'ana')).toMatchObject({ code: 2 })
    expect((await admin('user', 'disable', 'ana')).stdout).toMatch(/state +disabled/)
    expect((await admin('user', 'list')).stdout).toMatch(/NAME.*\nadmin +admin.*\nana +viewer +disabled/)
    expect((await admin('user', 'enable', 'ana')).stdout).toMatch(/state +active/)
    expect((await admin('user', 'reset-password', 'ana')).stdout).toContain('One-time password')
    expect(await admin('user', 'delete', 'ana')).toMatchObject({ code: 2 })
    expect(await admin('user', 'delete', 'ana', '--yes')).toMatchObject({ ...ended, stdout: 'ana deleted\n' })
    expect(await admin('user', 'get', 'ana')).toMatchObject({ code: 3 })
    expect(await as('otto')('user', 'create', 'eve')).toMatchObject({ code: 4 })
  })

  it('puts them into teams', async () => {
    const admin = as('admin')
    await admin('team', 'put', 'bio', '--description', 'biologists', '--group', 'cn=bio')
    expect((await admin('team', 'add', 'bio', 'otto', '--rank', 'admin')).stdout).toMatch(/members +otto \(admin\)\ngroups +cn=bio/) // prettier-ignore
    expect((await as('otto')('team', 'list')).stdout).toMatch(/bio +1 +otto +biologists/)
    expect(await as('otto')('team', 'remove', 'bio', 'otto')).toMatchObject(ended)
    expect(await admin('team', 'delete', 'bio', '--yes')).toMatchObject(ended)
    expect(await admin('team', 'get', 'bio')).toMatchObject({ code: 3 })
  })

  it('makes tokens for programs, which may do no more than is said', async () => {
    const otto = as('otto')
    const made = await otto('token', 'create', 'dashboard', '--scope', 'node:read', '--days', '7')
    expect(made).toMatchObject({ code: 0, stderr: expect.stringContaining('Shown this once') as string })
    const env = { SUBMARINE_ADDRESS: served.origin, SUBMARINE_TOKEN: made.stdout.trim() }
    expect(await runCli(['node', 'list'], { env })).toMatchObject({ code: 0 })
    expect(await runCli(['experiment', 'list'], { env })).toMatchObject({ code: 4 })
    const [, id = ''] = /(tok-\w+) +api +otto +dashboard +node:read/.exec((await otto('token', 'list')).stdout) ?? [] // prettier-ignore
    expect(await otto('token', 'delete', id)).toMatchObject(ended)
    expect(await runCli(['node', 'list'], { env })).toMatchObject({ code: 4 })
    expect(await otto('token', 'create', 'x', '--scope', 'nodes')).toMatchObject({ code: 2 })
  })

  it('shares an experiment, and says what one may do', async () => {
    served.world.submit('exp-1', { owner: 'admin' })
    const [admin, otto] = [as('admin'), as('otto')]
    const may = (action: string) => otto('can-i', action, 'experiment', 'exp-1')
    expect(await may('experiment:read')).toMatchObject({ code: 4, stdout: 'no\n' })
    expect((await admin('experiment', 'share', 'exp-1', '--with', 'user:otto', '--level', 'write')).stdout).toBe('exp-1: private, user:otto (write)\n') // prettier-ignore
    expect(await may('experiment:stop')).toMatchObject({ code: 0, stdout: 'yes\n' })
    expect(await may('experiment:delete')).toMatchObject({ code: 4 })
    const less = await admin('experiment', 'share', 'exp-1', '--without', 'user:otto', '--visibility', 'everyone') // prettier-ignore
    expect(less.stdout).toBe('exp-1: everyone\n')
    expect(await may('experiment:stop')).toMatchObject({ code: 4 })
    expect(await may('experiment:read')).toMatchObject({ code: 0 })
    expect(await admin('experiment', 'share', 'exp-1')).toMatchObject({ code: 2 })
    expect(await otto('can-i', 'experiment:create')).toMatchObject({ code: 0 })
    expect(await otto('can-i', 'experiment:eat')).toMatchObject({ code: 2 })
  })
})
