import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatConstraint, parseAffinity, parseConstraint } from './constraint.ts'
import { parseArray } from './scheduling-input.ts'
import { ExperimentSpec, parseSpec } from './spec.ts'

const GiB = 1024 ** 3
function read(more: object): ExperimentSpec {
  const parsed = parseSpec({ name: 'x', command: 'true', ...more })
  if ('errors' in parsed) throw new Error(JSON.stringify(parsed.errors))
  return parsed.spec
}
const fault = (more: object) => {
  const parsed = parseSpec({ name: 'x', command: 'true', ...more })
  return 'errors' in parsed
    ? parsed.errors.map(({ pointer, message }) => `${pointer} ${message}`).join('\n')
    : ''
}

describe('what a spec says to the scheduler', () => {
  it('is read from words, and what is absent stays absent', () => {
    const spec = read({
      team: 'vision',
      queue: 'nightly',
      priority: 'low',
      preemptible: false,
      grace: '2 mins',
      placement: 'spread',
      even: true,
      constraints: ['gpu.model = A100', 'label.zone in (a, b)'],
      affinities: ['label.disk = nvme weight -20'],
      loss_policy: 'lease 15 min',
      retries: 3,
      idle_stop: '1h',
    })
    expect(spec).toMatchObject({
      team: 'vision',
      queue: 'nightly',
      priority: 'low',
      preemptible: false,
      grace_seconds: 120,
      placement: 'spread',
      even: true,
      constraints: [
        { attribute: 'gpu.model', operator: '=', values: ['A100'] },
        { attribute: 'label.zone', operator: 'in', values: ['a', 'b'] },
      ],
      affinities: [{ attribute: 'label.disk', operator: '=', values: ['nvme'], weight: -20 }],
      loss_policy: { kind: 'lease', seconds: 900 },
      retries: { limit: 3, backoff_seconds: 10, max_backoff_seconds: 600 },
      idle_stop_seconds: 3600,
    })
    expect(ExperimentSpec.parse(spec)).toEqual(spec)
    expect(Object.keys(read({})).toSorted()).toEqual(['name', 'roles', 'tags', 'type'])
  })

  it('reads what it stores: the canonical fields mean themselves', () => {
    const spec = read({ grace: 5, retries: { limit: 2, backoff: '1 min' }, array: '3,1-2%2', idle_stop: '1 day', loss_policy: 'replace-now', constraints: 'label.ssd exists', affinities: ['arch = arm64'] }) // prettier-ignore
    const { roles: _roles, type: _type, tags: _tags, ...fields } = spec
    expect(read(fields)).toEqual(spec)
  })

  it('is refused at its place, in words', () => {
    expect(fault({ grace: '1h', grace_seconds: 5 })).toContain('/grace_seconds is another word for "grace"')
    expect(fault({ grace: '2h' })).toContain('/grace expected 0 to 3600 seconds')
    expect(fault({ priority: 'urgent' })).toContain('/priority ')
    expect(fault({ constraints: ['gpu.model = A100', 'colour = red'] })).toContain(
      '/constraints/1 nodes have no attribute "colour"',
    )
    expect(fault({ constraints: ['node >= a'] })).toContain('/constraints/0 node has no order')
    expect(fault({ constraints: [{ attribute: 'arch', operator: '~', values: [] }] })).toContain(
      '/constraints/0/operator',
    )
    expect(fault({ affinities: ['arch = arm64 weight 500'] })).toContain('/affinities/0 expected a weight')
    expect(fault({ loss_policy: 'lease forever' })).toContain(
      '/loss_policy expected hold, lease 10 min, or replace-now',
    )
    expect(fault({ loss_policy: 'lease 2 s' })).toContain(
      '/loss_policy expected a lease of at least 10 seconds',
    )
    expect(fault({ retries: 200 })).toContain('/retries expected at most 100 retries')
    expect(fault({ retries: { limit: 1, backoff: 'soon' } })).toContain(
      '/retries/backoff expected a duration',
    )
    expect(fault({ idle_stop: 5 })).toContain('/idle_stop expected 60')
    expect(fault({ experiment: { name: 'x', command: 'y', array: 'a' } })).toContain('/experiment')
  })

  it('has an array beside one role of one replica only', () => {
    expect(read({ array: '0-30:10' }).array).toEqual({ indices: [0, 10, 20, 30] })
    expect(read({ array: '1-4%2', roles: { worker: {} } }).array).toEqual({ indices: [1, 2, 3, 4], limit: 2 })
    expect(fault({ array: '1-4', roles: { worker: {}, ps: {} } })).toBe(
      '/array expected one role beside an array, not 2',
    )
    expect(fault({ array: '1-4', worker: { replicas: 2 } })).toContain('/worker/replicas expected 1')
  })
})

describe('GPUs of a task', () => {
  it('are told in a text, by keys, or as an object of their own', () => {
    const expected = {
      resources: { cpu: 4, memory: GiB, gpu: 2, disk: 0 },
      gpu: { model: 'A100', memory: 40 * GiB },
    }
    const ways = [
      'cpu=4, gpu=2, gpu.model=A100, gpu.memory=40Gi',
      { cpu: 4, gpu: 2, 'gpu.model': 'A100', 'gpu.memory': '40Gi' },
      { cpu: 4, gpu: { count: 2, model: 'A100', memory: '40Gi' } },
    ]
    for (const resources of ways) expect(read({ resources }).roles.worker).toMatchObject(expected)
    expect(read({ resources: 'gpu.mig=1g.10gb' }).roles.worker).toMatchObject({
      resources: { gpu: 1 },
      gpu: { mig: '1g.10gb' },
    })
    expect(read({ resources: 'gpu=1' }).roles.worker).not.toHaveProperty('gpu')
  })

  it('are a role’s own where it names resources', () => {
    const spec = read({ resources: 'gpu.model=A100', roles: { worker: {}, ps: { resources: 'cpu=2' } } })
    expect(spec.roles.worker?.gpu).toEqual({ model: 'A100' })
    expect(spec.roles.ps).not.toHaveProperty('gpu')
  })

  it.each([
    ['gpu=1, gpu.colour=red', '/resources GPUs have no "colour"; known: model'],
    ['gpu=0, gpu.model=A100', '/resources expected at least 1 GPU'],
    ['gpu.mig=large', '/resources expected a MIG profile'],
    ['gpu.mig=1g.10gb, gpu.share=8Gi', '/resources gpu.mig and gpu.share exclude'],
    ['gpu.memory=lots', '/resources expected a size'],
    ['gpu.model=', '/resources expected a part'],
    ['gpu.model=a, gpu.model=b', '/resources gpu.model is given twice'],
  ])('%s is refused', (resources, message) => expect(fault({ resources })).toContain(message))

  it('are refused at their key', () => {
    expect(fault({ resources: { gpu: { model: 'A100', memory: 'lots' } } })).toContain(
      '/resources/gpu/memory expected a size',
    )
    expect(fault({ resources: { cpu: { count: 2 } } })).toContain('/resources/cpu expected')
  })
})

describe('constraints', () => {
  it.each([
    ['node=host-1', { attribute: 'node', operator: '=', values: ['host-1'] }],
    [
      'gpu.model == NVIDIA A100-SXM4-80GB',
      { attribute: 'gpu.model', operator: '=', values: ['NVIDIA A100-SXM4-80GB'] },
    ],
    ['label.rack != "r 1"', { attribute: 'label.rack', operator: '!=', values: ['r 1'] }],
    ['gpu.driver>=535.104.05', { attribute: 'gpu.driver', operator: '>=', values: ['535.104.05'] }],
    ['label.zone not in (a,b)', { attribute: 'label.zone', operator: 'not in', values: ['a', 'b'] }],
    ['label.ssd not exists', { attribute: 'label.ssd', operator: 'not exists', values: [] }],
  ])('%s', (text, constraint) => {
    expect(parseConstraint(text)).toEqual(constraint)
    expect(parseConstraint(formatConstraint(parseConstraint(text) as never))).toEqual(constraint)
  })

  it.each(['', 'arch', '= a', 'arch =', 'arch = ', 'arch in', 'arch in ()', 'arch in (a,,b)', 'arch > a', 'label. = a', 'gpu.memory >= lots', 'kernel >= new', 'constructor = a', 'arch exists b', 'arch in (a) b'])(
    '%j is refused',
    (text) => expect(parseConstraint(text)).toHaveProperty('error'),
  ) // prettier-ignore

  it('never throw, and read what they write', () => {
    fc.assert(
      fc.property(fc.string(), (text) => void [parseConstraint(text), parseAffinity(text), parseArray(text)]),
    )
    const word = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,10}$/)
    fc.assert(
      fc.property(word, fc.array(word, { minLength: 1, maxLength: 5 }), fc.boolean(), (key, values, not) => {
        const constraint = {
          attribute: `label.${key.replace(/[.-]+$/, 'x')}`,
          operator: not ? 'not in' : 'in',
          values,
        } as const
        expect(parseConstraint(formatConstraint(constraint))).toEqual(constraint)
      }),
    )
  })
})

describe('array texts', () => {
  it('name each index once', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(100_000), { minLength: 1, maxLength: 50 }),
        fc.integer({ min: 1, max: 99 }),
        (indices, limit) => {
          const sorted = indices.toSorted((a, b) => a - b)
          expect(parseArray(`${indices.join(',')}%${limit}`)).toEqual({ indices: sorted, limit })
        },
      ),
    )
  })
  it.each(['', '%4', '1-', '-1', '5-1', '1-4%0', '1-4:0', '1,1', '1-3,2', '1-9999', 'all', '1-4%', '1e3'])(
    '%j is refused',
    (text) => expect(parseArray(text)).toHaveProperty('error'),
  )
})
