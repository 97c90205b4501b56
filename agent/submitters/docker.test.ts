import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseSpec, ProblemError } from '../../contract/index.ts'
import { admin, GiB, World } from '../services/testing/world.ts'
import { createDockerSubmitter } from './docker.ts'
import type { Submitter } from './submitter.ts'

let world: World
let submitter: Submitter
beforeEach(async () => {
  world = await World.create(3)
  world.report('node-3', { allocatable: { memory: 64 * GiB }, gpuIds: ['GPU-a', 'GPU-b'] })
  submitter = createDockerSubmitter(world.cluster)
})
afterEach(() => world.close())

function validate(input: object, owner = 'ana'): ProblemError | undefined {
  const parsed = parseSpec({ name: 'x', command: 'true', ...input })
  if ('errors' in parsed) throw new Error(JSON.stringify(parsed.errors))
  try {
    submitter.validate(parsed.spec, owner)
    return undefined
  } catch (error) {
    if (error instanceof ProblemError) return error
    throw error
  }
}

describe('the built-in cluster', () => {
  it('takes what some node could run, busy or not', () => {
    world.submit('exp-1', { replicas: 8 })
    world.run('exp-1', 'node-1')
    expect(validate({ resources: 'cpu=8, mem=64gb, gpu=2' })).toBeUndefined()
  })

  it.each([
    ['cpu=9', 'comes nearest: 9 cores asked, 8 cores there'],
    ['mem=65gb', 'comes nearest: 65 GiB of memory asked, 64 GiB of memory there'],
    ['gpu=3', 'comes nearest: 3 GPUs asked, 2 GPUs there'],
    [
      'cpu=16, mem=1tb, gpu=1, disk=1tb',
      'comes nearest: 16 cores asked, 8 cores there; 1 TiB of memory asked',
    ],
  ])('refuses %s, and names the node that comes nearest', (resources, message) => {
    const problem = validate({ resources })
    expect(problem?.code).toBe('never_fits')
    expect(problem?.message).toMatch(/no node could ever run a task of worker: host-3 comes nearest: /)
    expect(problem?.message).toContain(message)
  })

  it('refuses a gang that all nodes together could not hold', () => {
    expect(validate({ roles: { worker: { replicas: 24 } } })).toBeUndefined()
    const problem = validate({ roles: { worker: { replicas: 20 }, ps: { replicas: 5 } } })
    expect(problem?.message).toBe(
      'the 25 tasks start together, and all nodes together have not enough: 25 cores asked, 24 cores there',
    )
  })

  it('refuses what is beyond the quota of whoever asks, and of nobody else', () => {
    const quota = (subject: string, cpu: number) =>
      world.log.propose({ type: 'quota.put', subject, change: { limits: { cpu } } }, admin)
    quota('user:ben', 1)
    expect(validate({ resources: 'cpu=4' })).toBeUndefined()
    expect(validate({ resources: 'cpu=4' }, 'ben')).toMatchObject({
      code: 'never_fits',
      message: expect.stringContaining('ben') as string,
    })
    quota('user:*', 2)
    quota('user:ana', 8)
    expect(validate({ resources: 'cpu=4' })).toBeUndefined()
    expect(validate({ resources: 'cpu=4' }, 'eve')?.code).toBe('never_fits')
  })

  it('asks for an image where no node has one of its own', () => {
    for (const node of ['node-1', 'node-2', 'node-3']) world.report(node, { default_image: null })
    expect(validate({})?.errors).toEqual([
      { pointer: '/environment', message: expect.stringContaining('{image: …}') },
    ])
    expect(validate({ roles: { ps: {} } })?.errors?.[0]?.pointer).toBe('/roles/ps/environment')
    expect(validate({ environment: { image: 'python:3.12' } })).toBeUndefined()
    world.report('node-2', { default_image: null, runtimes: ['docker', 'process'] })
    expect(validate({})).toBeUndefined()
  })

  it('refuses an image where nothing runs images', () => {
    for (const node of ['node-1', 'node-2', 'node-3']) world.report(node, { runtimes: ['process'] })
    expect(validate({ environment: { image: 'python:3.12' } })?.message).toMatch(
      /^no node has a Docker Engine/,
    )
    expect(validate({})).toBeUndefined()
  })

  it('does not judge while a node has yet to say what it has', () => {
    world.join('host-4', '10.0.0.4:7460')
    expect(validate({ resources: 'cpu=4000' })).toBeUndefined()
  })

  it('puts what is submitted and stopped into the log', async () => {
    const parsed = parseSpec({ name: 'x', command: 'true' })
    if ('errors' in parsed) throw new Error('a bad spec')
    const submission = {
      id: 'exp-1',
      spec: parsed.spec,
      owner: 'admin',
      idempotency: { key: 'admin:k', request_sha256: 'a' },
    }
    expect(await submitter.submit(submission, admin)).toEqual({ id: 'exp-1', made: true })
    expect(await submitter.submit({ ...submission, id: 'exp-2' }, admin)).toEqual({
      id: 'exp-1',
      made: false,
    })
    await submitter.stop('exp-1', admin)
    expect(world.log.state.experiments.get('exp-1')?.state).toBe('Stopped')
  })
})
