import { describe, expect, test } from 'vitest'
import { type ExperimentInput, parseSpec } from '../../../contract/spec.ts'
import { commandText, emptyForm, fromInput, memoryText, placeErrors, timeoutText, toInput } from './form.ts'

const filled = { ...emptyForm(), name: 'a', command: 'true' }
const specOf = (input: unknown) => {
  const parsed = parseSpec(input)
  if ('errors' in parsed) throw new Error(JSON.stringify(parsed.errors))
  return parsed.spec
}
const errorsOf = (values: Partial<typeof filled>) => {
  const parsed = parseSpec(toInput({ ...filled, ...values }))
  return 'errors' in parsed ? placeErrors(parsed.errors) : undefined
}

describe('from the form to a spec', () => {
  test('the least that is needed', () => {
    expect(toInput(filled)).toEqual({
      name: 'a',
      command: 'true',
      resources: { cpu: 1, memory: '1Gi', gpu: 0 },
    })
    expect(specOf(toInput(filled)).roles['worker']?.command).toEqual(['/bin/sh', '-c', 'true'])
  })

  test('everything', () => {
    const input = toInput(
      {
        ...filled,
        image: ' python:3.12 ',
        cpu: '500m',
        gpus: '2',
        timeout: '30 mins',
        tags: 'a, b,,',
        replicas: '3',
        env: [
          { name: 'SEED', value: '7' },
          { name: '', value: 'forgotten' },
        ],
      },
      'c'.repeat(64),
    )
    const spec = specOf(input)
    expect(spec).toMatchObject({ tags: ['a', 'b'], timeout_seconds: 1800, code: { upload: 'c'.repeat(64) } })
    expect(spec.roles['worker']).toMatchObject({
      replicas: 3,
      image: 'python:3.12',
      env: { SEED: '7' },
      resources: { cpu: 0.5, gpu: 2 },
    })
  })

  test('back again: a clone submits the same experiment', () => {
    const inputs: ExperimentInput[] = [
      {
        name: 'x',
        command: 'python train.py\necho done',
        resources: 'mem=20gb, vcore=3, gpu=2',
        tags: ['t'],
      },
      { name: 'x', command: 'true', timeout: '90s', env: { A: '1' }, roles: { worker: { replicas: 4 } } },
      {
        name: 'x',
        roles: {
          ps: { command: 'a', replicas: 2 },
          worker: { command: ['b', 'c d'], environment: { image: 'i:1' } },
        },
      },
    ]
    for (const input of inputs) {
      const form = fromInput(input)
      expect(form && specOf(toInput(form))).toEqual(specOf(input))
    }
    expect(fromInput({ name: '../' })).toBeUndefined()
  })

  test('commands and sizes in their readable spelling', () => {
    expect(commandText(['python', 'a b.py', "it's"])).toBe("python 'a b.py' 'it'\\''s'")
    expect([2 ** 31, 512 * 2 ** 20, 1000].map(memoryText)).toEqual(['2Gi', '512Mi', '1000'])
    expect([600, 60, 90].map(timeoutText)).toEqual(['10 mins', '1 min', '90s'])
    expect(fromInput({ name: 'x', command: 'true', timeout: '1h30m' })?.timeout).toBe('1h30m')
  })
})

describe('errors stand at the field that they name', () => {
  test.each([
    ['name', { name: 'no spaces please' }],
    ['image', { image: 'NOT AN IMAGE' }],
    ['command', { command: ' ' }],
    ['cpu', { cpu: 'many' }],
    ['memory', { memory: '1 elephant' }],
    ['gpus', { gpus: '-1' }],
    ['timeout', { timeout: 'soon' }],
    ['tags', { tags: 'x'.repeat(65) }],
    ['replicas', { replicas: '0' }],
    ['env', { env: [{ name: '1BAD', value: '' }] }],
  ] as const)('%s', (field, values) => {
    const placed = errorsOf(values as Partial<typeof filled>)
    expect(Object.keys(placed?.fields ?? {})).toEqual([field])
    expect(placed?.rest).toEqual([])
  })

  test('the server’s own pointers too, several at one field joined, strange ones kept', () => {
    const placed = placeErrors([
      { pointer: '/environment/image', message: 'bad' },
      { pointer: '/code/upload', message: 'gone' },
      { pointer: '/env/A', message: 'one' },
      { pointer: '/env/B', message: 'two' },
      { pointer: '/elsewhere', message: 'odd' },
    ])
    expect(placed.fields).toEqual({ image: 'bad', code: 'gone', env: 'A: one; B: two' })
    expect(placed.rest).toEqual([{ pointer: '/elsewhere', message: 'odd' }])
  })

  test('errors of roles that are passed on have no field', () => {
    expect(placeErrors([{ pointer: '/roles/worker/command', message: 'x' }], true).rest).toHaveLength(1)
  })
})
