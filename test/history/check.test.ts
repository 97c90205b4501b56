import { describe, expect, test } from 'vitest'
import { checkLinearizable } from './check.ts'
import { diagram } from './diagram.ts'
import { claimModel, startOnceModel } from './domain.ts'
import { keyValueModel } from './key-value.ts'
import type { Operation } from './model.ts'
import { recordHistory } from './record.ts'

const model = keyValueModel()
const verdict = (picture: string) => checkLinearizable(diagram(picture), model).verdict

const legal: Record<string, string> = {
  'nothing at all': '',
  'one after the other': `
    a: |put 1|  |get 1|  |put 2|  |get 2|`,
  'a read beside a write sees the old value or the new': `
    a: |get -||put 1          |
    b:          |get -|
    c:                  |get 1|`,
  'two writes at once, in either order': `
    a: |put 1      |
    b:   |put 2  |
    c:                |get 1|`,
  'a read from before the write that it overlaps last': `
    a: |get -                   |
    b:    |put 1|   |put 2|`,
  'touching in time is overlapping': `
    a: |put 1|
    b:       |get -|`,
  'a write without an answer that ran late': `
    a: |put 1 ...
    b:          |get -|   |get 1|`,
  'a write without an answer that never ran': `
    a: |put 1 ...
    b:          |get -|   |put 2|  |get 2|`,
  'a write without an answer that ran after another': `
    a: |put 1 ...
    b:          |put 2|  |get 2|  |get 1|`,
  'a read without an answer': `
    a: |get 7 ...
    b:          |put 2|  |get 2|`,
  'a swap that won, and one that lost': `
    a: |put 1| |cas 1 2   |
    b:         |cas 1 3 no|  |get 2|`,
  'a swap without an answer explains why another lost': `
    a: |put 1| |cas 1 2 ...
    b:                 |cas 1 3 no|`,
  'creating where nothing is': `
    a: |cas - 1|    |get 1|
    b: |cas - 2 no|`,
  deleting: `
    a: |put 1| |del| |get -| |del no|`,
  'a delete without an answer': `
    a: |put 1| |del ...
    b:              |get 1|  |get -|`,
  'keys do not meet': `
    a: |x.put 1|  |y.get -|
    b:   |y.put 1 ...
    c:            |x.get 1|   |y.get 1|`,
  'versions that grow': `
    a: |put 1 v4| |put 2 v9|
    b:                      |get 2 v9| |cas v9 3 v12|`,
  'a write whose version only a later read tells': `
    a: |put 1 v4| |put 2 ...
    b:                  |get 2 v7| |cas v4 3 no|  |cas v7 4 v8|`,
  'a swap over a version without an answer': `
    a: |put 1 v4| |cas v4 2 ...
    b:                       |get 1 v4| |get 2 v6|`,
  'reads of many clients agree on one order of writes': `
    a: |put 1                    |
    b: |put 2                    |
    c:   |get 1|  |get 2|
    d:   |get 1     |  |get 2|`,
}

const illegal: Record<string, string> = {
  'a stale read': `
    a: |put 1|  |put 2|  |get 1|`,
  'a value nobody wrote': `
    a: |put 1|  |get 7|`,
  'a lost write': `
    a: |put 1|  |get -|`,
  'new, then old again': `
    a: |put 1          |
    b:   |get 1| |get -|`,
  'new, then old again, by two clients': `
    a: |put 1              |
    b:   |get 1|
    c:            |get -|`,
  'two reads that see two writes in different orders': `
    a: |put 1                        |
    b: |put 2                        |
    c:   |get 1|  |get 2|
    d:                     |get 1|`,
  'a read from the future': `
    a: |get 1|  |put 1|`,
  'an unanswered write seen and unseen': `
    a: |put 1 ...
    b:          |get 1|   |get -|`,
  'an unanswered write that runs twice': `
    a: |put 1 ...
    b:          |get 1|  |put 2|  |get 1|`,
  'two swaps that both won': `
    a: |put 1| |cas 1 2|
    b:         |cas 1 3|`,
  'a swap that lost for no reason': `
    a: |put 1| |cas 1 2 no|`,
  'a swap that won over another value': `
    a: |put 1| |cas 2 3|`,
  'two deletes of one value': `
    a: |put 1| |del|
    b:         |del|`,
  'a delete undone': `
    a: |put 1| |del|  |get 1|`,
  'deleting nothing': `
    a: |del|`,
  'a version that shrinks': `
    a: |put 1 v4| |put 2 v3|`,
  'a version twice': `
    a: |put 1 v4  |
    b:  |put 2 v4 |`,
  'a read of a value with the version of another': `
    a: |put 1 v4| |put 2 v5| |get 2 v4|`,
  'a swap over a version that is gone': `
    a: |put 1 v4| |put 2 v5| |cas v4 3 v6|`,
  'a swap refused over the version that is there': `
    a: |put 1 v4| |cas v4 3 no|`,
  'one wrong key among good ones': `
    a: |x.put 1|  |y.put 1|  |x.get 1|
    b:                         |y.get -|`,
}

describe('the checker', () => {
  test.each(Object.entries(legal))('accepts %s', (_, picture) => expect(verdict(picture)).toBe('ok'))
  test.each(Object.entries(illegal))('refuses %s', (_, picture) => expect(verdict(picture)).toBe('violation'))

  test('names the key and the shortest beginning that is wrong', () => {
    const history = diagram(`
      a: |x.put 1|  |put 2|  |get 1|  |put 3| |get 3|
      b: |y.put 1|                               |put 4 ...`)
    const { key, counterexample, report } = checkLinearizable(history, model)
    expect(key).toBe('x')
    expect(counterexample?.map(({ input }) => input.kind)).toEqual(['put', 'put', 'get'])
    expect(report?.split('\n').map((line) => line.replace(/\[.*?\] /, ''))).toEqual([
      'key x: no order explains these answers (3 operations until then)',
      '  the longest order that fits has 2 of them and ends with',
      '    a put "1" → ok',
      '    a put "2" → ok',
      '  after which it is "2", and one of these must come next, but none can',
      '    a get → "1"',
    ])
  })

  test('says unknown at its limits, never ok', () => {
    const writes = Array.from({ length: 12 }, (_, at) => `c${at}: |put ${at}${' '.repeat(20)}|`)
    const history = diagram([...writes, `r: ${' '.repeat(40)}|get 99|`].join('\n'))
    expect(checkLinearizable(history, model).verdict).toBe('violation')
    expect(checkLinearizable(history, model, { steps: 1000 })).toMatchObject({ verdict: 'unknown', key: 'x' })
    expect(checkLinearizable(history, model, { bytes: 64 * 1024 })).toMatchObject({ verdict: 'unknown' })
    const beside = diagram(`a: |y.put 1| |y.get 2|`)
    expect(checkLinearizable([...history, ...beside], model, { steps: 1000 })).toMatchObject({
      verdict: 'violation',
      key: 'y',
    })
  })

  test('refuses a history that makes no sense', () => {
    const [good] = diagram('a: |put 1|')
    const of = (change: object) => () => checkLinearizable([{ ...good, ...change } as never], model)
    expect(of({ return: -1 })).toThrow('operation 0 returns at -1')
    expect(of({ return: Infinity })).toThrow('without an answer returns at Infinity')
    expect(of({ output: undefined })).toThrow('without an answer returns at Infinity')
    expect(of({ call: Number.NaN })).toThrow(RangeError)
  })

  test('is not lost among writes without an answer', () => {
    const lost = Array.from({ length: 60 }, (_, at) => `l${at}: ${' '.repeat(at % 7)}|put l${at} ...`)
    const versions = (last: number) => `
      a:        |put 1 v5|  |put 2 v9|   |get 2 v9|  |put 3 v40|
      b:                                                          |get 3 v40|  |cas v9 5 no|  |get 3 v${last}|`
    expect(verdict([...lost, versions(40)].join('\n'))).toBe('ok')
    expect(verdict([...lost, versions(41)].join('\n'))).toBe('violation')
    const seen = `
      c: ${' '.repeat(100)}|get l7|  |get l9|  |get l7|`
    expect(verdict([...lost, seen].join('\n'))).toBe('violation')
    expect(verdict([...lost, seen.replace(/l7.$/, 'l9|')].join('\n'))).toBe('ok')
  })

  test('takes a long history with many clients', () => {
    const history: Operation<unknown, unknown>[] = []
    for (let at = 0; at < 20_000; at++)
      history.push({
        client: at % 10,
        input: at % 2 ? { kind: 'put', key: 'x', value: `${at}` } : { kind: 'get', key: 'x' },
        output: at % 2 ? {} : { value: at === 0 ? null : `${at - 1}` },
        call: at * 10,
        return: at * 10 + 15,
      })
    expect(checkLinearizable(history as never, model)).toMatchObject({ verdict: 'ok', operations: 20_000 })
  })
})

test('a GPU has one owner', () => {
  const at = (call: number, end: number, kind: 'claim' | 'release', task: string, done?: boolean) => ({
    client: task,
    input: { kind, gpu: 'GPU-1', task },
    output: done === undefined ? undefined : { done },
    call,
    return: done === undefined ? Infinity : end,
  })
  const check = (...history: ReturnType<typeof at>[]) => checkLinearizable(history, claimModel).verdict
  expect(check(at(1, 5, 'claim', 'a', true), at(2, 6, 'claim', 'b', false))).toBe('ok')
  expect(check(at(1, 5, 'claim', 'a', true), at(2, 6, 'claim', 'b', true))).toBe('violation')
  expect(check(at(1, 5, 'claim', 'a', true), at(6, 9, 'release', 'a'), at(10, 12, 'claim', 'b', true))).toBe(
    'ok',
  )
  expect(
    check(at(1, 5, 'claim', 'a', true), at(6, 9, 'release', 'a', true), at(10, 12, 'claim', 'b', false)),
  ).toBe('violation')
})

test('an attempt starts once', () => {
  const at = (call: number, end: number, attempt: number, started?: boolean) => ({
    client: 'n',
    input: { run: 'r', attempt },
    output: started === undefined ? undefined : { started },
    call,
    return: started === undefined ? Infinity : end,
  })
  const check = (...history: ReturnType<typeof at>[]) => checkLinearizable(history, startOnceModel).verdict
  expect(check(at(1, 5, 1, true), at(2, 6, 1, false), at(7, 9, 2, true))).toBe('ok')
  expect(check(at(1, 5, 1, true), at(2, 6, 1, true))).toBe('violation')
  expect(check(at(1, 5, 1), at(6, 9, 1, false))).toBe('ok')
  expect(check(at(1, 5, 2, true), at(6, 9, 1, true))).toBe('violation')
})

describe('the recorder', () => {
  test('keeps answers, leaves out what was refused, and keeps open what has no answer', () => {
    const history = recordHistory<string, number>()
    const one = history.call('a', 'one')
    const two = history.call('b', 'two')
    const three = history.call('c', 'three')
    history.call('d', 'four')
    two.refused()
    one.answered(1)
    three.unknown()
    expect(history.operations()).toEqual([
      { client: 'a', input: 'one', output: 1, call: 1, return: 5 },
      { client: 'c', input: 'three', output: undefined, call: 3, return: Infinity },
      { client: 'd', input: 'four', output: undefined, call: 4, return: Infinity },
    ])
    expect(() => one.refused()).toThrow('ended twice')
  })
})
