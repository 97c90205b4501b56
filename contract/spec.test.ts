import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ExperimentSpec, parseSpec } from './spec.ts'

const GiB = 1024 ** 3
function read(input: unknown): ExperimentSpec {
  const parsed = parseSpec(input)
  if ('errors' in parsed) throw new Error(JSON.stringify(parsed.errors))
  return parsed.spec
}

describe('a good spec', () => {
  it('needs a name and a command', () => {
    expect(read({ name: 'hello', command: 'echo hello' })).toEqual({
      name: 'hello',
      type: 'script',
      tags: [],
      roles: {
        worker: {
          replicas: 1,
          resources: { cpu: 1, memory: GiB, gpu: 0, disk: 0 },
          command: ['/bin/sh', '-c', 'echo hello'],
          env: {},
        },
      },
    })
  })

  it('is read in the design’s own spelling as in ours', () => {
    const design = {
      experiment: {
        name: 'abc-distributed',
        type: 'adhoc',
        ps: { resource_constraint: { res: 'mem=20gb, vcore=3, gpu=0' }, environment: { image: 'tf:cpu' } },
        worker: {
          resource_constraint: { res: 'mem=20gb, vcore=3, gpu=2' },
          environment: { image: 'tf:gpu' },
        },
        parameter: 'python /code/training.py --iteration 10\n--input=s3://bucket/input\n',
        timeout: '30 mins',
      },
    }
    const ours = {
      name: 'abc-distributed',
      type: 'script',
      timeout: 1800,
      command: 'python /code/training.py --iteration 10\n--input=s3://bucket/input',
      roles: {
        ps: { environment: { image: 'tf:cpu' }, resources: { memory: '20Gi', cpu: 3 } },
        worker: { environment: { image: 'tf:gpu' }, resources: 'cpu=3,memory=20480M,nvidia.com/gpu=2' },
      },
    }
    expect(read(design)).toEqual(read(ours))
  })

  it('lets a role override what stands at the top', () => {
    const spec = read({
      name: 'x',
      command: ['python', 'train.py'],
      env: { A: '1', B: 2, C: true },
      environment: { image: 'registry.lab:5000/team/image:tag' },
      roles: { worker: { replicas: 3, env: { B: 'role' } }, ps: { command: 'serve' } },
    })
    expect(spec.roles.worker).toMatchObject({
      replicas: 3,
      image: 'registry.lab:5000/team/image:tag',
      command: ['python', 'train.py'],
      env: { A: '1', B: 'role', C: 'true' },
    })
    expect(spec.roles.ps?.command).toEqual(['/bin/sh', '-c', 'serve'])
  })

  it('does not change what it was read from', () => {
    const input = { experiment: { name: 'x', ps: { parameter: 'a' }, worker: { parameter: 'b' } } }
    const before = structuredClone(input)
    read(input)
    expect(input).toEqual(before)
  })

  it.each([
    ['script.yaml', 'code/sync_mode', { code: { sync_mode: 's3', url: 's3://bucket/training-job.tar.gz' } }],
    ['distributed-tf.yaml', 'tensorboard', { tensorboard: 'enabled' }],
  ])('of later versions (%s) is refused at the part this version lacks', (_file, part, more) => {
    const parsed = parseSpec({ experiment: { name: 'abc', parameter: 'python t.py', ...more } })
    expect('errors' in parsed && parsed.errors.map((error) => error.pointer)).toContain(`/experiment/${part}`)
  })

  it('that was read once reads the same as the stored schema', () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,12}$/)
    const role = fc.record(
      {
        replicas: fc.integer({ min: 1, max: 8 }),
        command: fc.array(word, { minLength: 1, maxLength: 4 }),
        resources: fc.record({ cpu: fc.integer({ min: 1, max: 64 }), gpu: fc.integer({ min: 0, max: 8 }) }),
        env: fc.dictionary(fc.stringMatching(/^[A-R_][A-Z0-9_]{0,8}$/), fc.string({ maxLength: 20, unit: 'grapheme-ascii' })),
      },
      { requiredKeys: ['command'] },
    ) // prettier-ignore
    const input = fc.record(
      {
        name: word,
        tags: fc.array(word, { maxLength: 5 }),
        timeout: fc.integer({ min: 1, max: 86_400 }),
        roles: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), role, { minKeys: 1, maxKeys: 4 }),
      },
      { requiredKeys: ['name', 'roles'] },
    )
    fc.assert(
      fc.property(input, (given) => {
        const spec = read(given)
        expect(ExperimentSpec.parse(spec)).toEqual(spec)
        expect(Object.keys(spec.roles)).toEqual(Object.keys(given.roles))
      }),
    )
  })

  it('never throws, whatever comes', () => {
    fc.assert(
      fc.property(fc.anything({ maxDepth: 4 }), (input) => {
        expect(['spec', 'errors']).toContain(Object.keys(parseSpec(input))[0])
      }),
    )
  })
})
