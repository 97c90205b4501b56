import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runCli, signedInCluster } from '../testing/run-cli.ts'

let at: Awaited<ReturnType<typeof signedInCluster>>
beforeEach(async () => {
  at = await signedInCluster()
})
afterEach(() => at.remove())
const run = (...options: string[]) =>
  runCli(['run', '--detach', ...options, '--', 'true'], { env: at.env, cwd: at.folder })

describe('what run tells the scheduler', () => {
  it('is what its options say', async () => {
    const done = await run(
      ...['--queue', 'nightly', '--priority', 'low', '--no-preemptible', '--retries', '3', '--array', '1-8%2'],
      ...['--constraint', 'label.zone in (a, b)', '--prefer', 'label.disk = nvme', '--spread', '--team', 'vision'],
      ...['--loss-policy', 'lease 10 min', '--grace', '1 min', '--gpu-model', 'A100', '--gpu-memory', '40Gi'],
    ) // prettier-ignore
    expect(done).toMatchObject({ code: 0, stdout: 'exp-1\n' })
    expect(at.cluster.find('exp-1').spec).toMatchObject({
      queue: 'nightly',
      priority: 'low',
      preemptible: false,
      retries: { limit: 3 },
      array: { indices: [1, 2, 3, 4, 5, 6, 7, 8], limit: 2 },
      constraints: [{ attribute: 'label.zone', operator: 'in', values: ['a', 'b'] }],
      affinities: [{ attribute: 'label.disk', weight: 50 }],
      placement: 'spread',
      team: 'vision',
      loss_policy: { kind: 'lease', seconds: 600 },
      grace_seconds: 60,
      roles: { worker: { resources: { gpu: 1 }, gpu: { model: 'A100', memory: 40 * 1024 ** 3 } } },
    })
  })

  it('is refused before anything is sent, under the name of its option', async () => {
    const done = await run(
      '--array',
      '9-1',
      '--prefer',
      'colour = red',
      '--gpu-memory',
      'lots',
      '--loss-policy',
      'x',
    )
    expect(done.code).toBe(2)
    expect(done.stderr).toMatch(/--array +expected indices/)
    expect(done.stderr).toMatch(/--prefer +nodes have no attribute "colour"/)
    expect(done.stderr).toMatch(/--gpu-memory +expected a size/)
    expect(done.stderr).toMatch(/--loss-policy +expected hold/)
    expect(at.cluster.agents[0]?.requests).toEqual([])
  })
})
