import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { serve, type Served } from '../../agent/http/testing/served.ts'
import { runCli } from '../../cli/testing/run-cli.ts'

let served: Served
let env: Record<string, string>
beforeAll(async () => {
  served = await serve()
  env = { SUBMARINE_ADDRESS: served.origin, SUBMARINE_TOKEN: served.world.signIn() }
})
afterAll(() => served.close())
const cli = (...args: string[]) => runCli(args, { env })
const json = async (...args: string[]) => {
  const done = await cli(...args, '-o', 'json')
  expect(done).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(done.stdout) as unknown
}

describe('the command line sets the order of work', () => {
  it('by queues', async () => {
    const made = await json('queue', 'set', 'nightly', '--max-runtime', '12h', '--priority', 'low', '--constraint', 'label.pool = batch') // prettier-ignore
    expect(made).toMatchObject({
      max_runtime_seconds: 43_200,
      priority: 'low',
      constraints: [{ values: ['batch'] }],
    })
    const closed = await cli(
      'queue',
      'set',
      'nightly',
      '--close',
      '--max-runtime',
      'none',
      '--no-constraints',
    )
    expect(closed.stdout).toMatch(/nightly +no +low +high +- +- +-/)
    expect((await cli('queue', 'list')).stdout).toMatch(/NAME.*\ndefault +yes.*\nnightly +no/)
    expect(await cli('queue', 'set', 'nightly')).toMatchObject({ code: 2 })
    expect((await cli('queue', 'set', 'nightly', '--constraint', 'colour = red')).stderr).toContain(
      'no attribute "colour"',
    )
    expect(await cli('queue', 'delete', 'nightly')).toMatchObject({
      code: 0,
      stdout: 'queue nightly deleted\n',
    })
    expect(await cli('queue', 'delete', 'nightly')).toMatchObject({ code: 3 })
  })

  it('by quotas', async () => {
    const set = await json('quota', 'set', 'team:vision', '--gpu', '8', '--memory', '512Gi', '--guaranteed-gpu', '4', '--gpu-hours-month', '100.5') // prettier-ignore
    expect(set).toMatchObject({
      limits: { gpu: 8, memory: 512 * 1024 ** 3, gpu_hours_month: 100.5 },
      guaranteed_gpu: 4,
    })
    expect((await cli('quota', 'set', 'team:vision', '--gpu', 'none', '--weight', '2')).stdout).toMatch(
      /team:vision +- +4 .*512 GiB.* 2\n/,
    )
    expect(await json('quota', 'list')).toMatchObject({ items: [{ subject: 'team:vision', weight: 2 }] })
    expect(await cli('quota', 'set', 'vision', '--gpu', '1')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('user:NAME') as string,
    })
    expect((await cli('quota', 'set', 'user:*', '--gpu', 'many')).stderr).toContain(
      'expected a whole number, or none',
    )
    expect((await cli('quota', 'set', 'user:*', '--weight', '0')).stderr).toContain(
      'expected a number above 0',
    )
    expect(await cli('quota', 'delete', 'team:vision')).toMatchObject({ code: 0 })
  })

  it('by reservations', async () => {
    const make = (...more: string[]) => cli('reservation', 'create', 'course', '--for', 'team:ml', '--node', 'host-2', ...more) // prettier-ignore
    expect((await make()).stderr).toContain('expected either --to or --duration')
    const made = await make('--from', '2030-01-31T08:00:00Z', '--duration', '4h')
    expect(made).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/course .* host-2 +the whole node/) as string,
    })
    expect((await cli('reservation', 'list')).stdout).toMatch(
      /course +res-\S+ +team:ml +host-2 +the whole node +2030-01-31T08:00:00.000Z +2030-01-31T12:00:00.000Z/,
    )
    const twice = await make('--from', '2030-01-31T11:00:00Z', '--duration', '4h')
    expect(twice).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(
        /host-2 is reserved already \(course\).*\nhint: Choose another time/,
      ) as string,
    })
    expect(await cli('reservation', 'delete', 'course')).toMatchObject({ code: 0 })
  })

  it('and tells what was used', async () => {
    const { world } = served
    expect(
      await json('usage', 'prices', '--currency', 'CHF', '--cpu', '0.5', '--gpu-model', 'A100=2'),
    ).toMatchObject({ cpu: 0.5, gpu_models: { A100: 2 } })
    const [task = ''] = world.submit('exp-1', { name: 'train' })
    world.run('exp-1')
    world.finish(task)
    const usage = await cli('usage')
    expect(usage).toMatchObject({ code: 0, stderr: '' })
    expect(usage.stdout).toMatch(/USER +ATTEMPTS.*CHF\nadmin +1 +0.0 +0.0 +0.0 +1.0 +1.0 +0.50\nin all +1 /)
    const csv = await cli('usage', '--by', 'detail', '--csv')
    expect(csv.stdout).toBe('day,user,team,workload,attempts,gpu_hours,cpu_hours,memory_gib_hours,wasted_gpu_hours,idle_gpu_hours,money\r\n2026-03-01,admin,,train,1,0,1,1,0,0,0.5\r\n') // prettier-ignore
    expect(await cli('usage', '--csv', '-o', 'json')).toMatchObject({ code: 2, stdout: '' })
    expect(await cli('usage', '--from', '2026-04-01', '--to', '2026-03-01')).toMatchObject({ code: 2 })
  })
})

describe('the command line asks, and says what it waits for', () => {
  beforeAll(() => {
    for (const node of ['node-1', 'node-2', 'node-3'])
      served.world.log.liveness.set(node, { liveness: 'ready', silent_ms: 0, usage: null })
  })

  it('before a node is removed: without a terminal only --yes does', async () => {
    expect(await cli('node', 'remove', 'host-3')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Give --yes if it is meant') as string,
    })
    expect(await json('node', 'get', 'host-3')).toMatchObject({ name: 'host-3' })
    expect(await cli('node', 'remove', 'host-3', '--yes')).toMatchObject({
      code: 0,
      stdout: 'host-3 (node-3) removed\n',
    })
  })

  it('names each fault of a submit once, with the exit code of bad requests', async () => {
    const nowhere = await cli('run', '--no-upload', '--queue', 'nigthly', '--dry-run', '--', 'true')
    expect(nowhere.code).toBe(2)
    expect(nowhere.stderr.match(/there is no queue/g)).toHaveLength(1)
    const never = await cli('run', '--no-upload', '--gpu', '4', '--dry-run', '--', 'true')
    expect(never.code).toBe(2)
    const unmet = await cli('run', '--no-upload', '--constraint', 'label.pool = a', '--dry-run', '--', 'true')
    expect(unmet).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/hint: Change the constraint/) as string,
    })
  })

  it('takes durations, and says when one is too long', async () => {
    expect((await cli('node', 'drain', 'host-2', '--grace', '2h')).stderr).toContain('expected at most 1h')
    expect((await cli('node', 'drain', '--help')).stdout).not.toContain('(default: "")')
    expect(await cli('node', 'drain', 'host-2', '--grace', '2 mins')).toMatchObject({ code: 0 })
    expect(await cli('node', 'uncordon', 'host-2')).toMatchObject({ code: 0 })
  })

  it('tells of an array how many tasks are placed, and how many follow', async () => {
    const plan = await cli('run', '--no-upload', '--cpu', '8', '--array', '0-4', '--dry-run', '--', 'true')
    expect(plan.code).toBe(0)
    expect(plan.stdout).toMatch(/worker-0 on host-\d\n(.*\n)* +and \d more tasks as room becomes free\n/)
  })

  it('shows what an experiment asked of the scheduler', async () => {
    const made = await cli('run', '--no-upload', '-d', '--array', '2-5%2', '--retries', '3', '--priority', 'low', '--', 'true') // prettier-ignore
    const shown = await cli('experiment', 'get', made.stdout.trim())
    expect(shown.stdout).toMatch(
      /queue +default\nclass +low\nretries +3, .*\narray +4 tasks \(2-5\), 2 at once\n/,
    )
  })

  it('takes files as images, and no folders', async () => {
    const done = await cli('image', 'import', '/tmp')
    expect(done).toMatchObject({ code: 2, stderr: expect.stringContaining('/tmp is no file') as string })
  })
})
