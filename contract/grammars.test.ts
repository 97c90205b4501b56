import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDuration, parseDuration } from './duration.ts'
import { defaultResources, formatBytes, parseBytes, parseCpu, parseGpu, parseResourceObject, parseResourceString } from './resources.ts' // prettier-ignore

const powers = { '': 0, k: 1, m: 2, g: 3, t: 4 } as const
const spelling = fc.record({
  unit: fc.constantFrom(...(Object.keys(powers) as (keyof typeof powers)[])),
  tail: fc.constantFrom('', 'b', 'i', 'ib'),
  upper: fc.boolean(),
  space: fc.constantFrom('', ' '),
})

describe('sizes', () => {
  it('are binary however they are spelled', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), spelling, (count, { unit, tail, upper, space }) => {
        const suffix = unit === '' && tail.startsWith('i') ? '' : unit + tail
        const text = `${count}${space}${upper ? suffix.toUpperCase() : suffix}`
        expect(parseBytes(text)).toBe(count * 1024 ** powers[unit])
      }),
    )
  })

  it.each([
    ['20gb', 20 * 1024 ** 3],
    ['2048M', 2 * 1024 ** 3],
    ['8Gi', 8 * 1024 ** 3],
    ['1.5g', 1.5 * 1024 ** 3],
    ['512', 512],
    [' 1k ', 1024],
  ])('%s', (text, bytes) => expect(parseBytes(text)).toBe(bytes))

  it.each(['', '-1', '1.', '.5g', '1,5g', '0x10', '1e3', '1 2g', 'Infinity', '1gg', '１g', '1g\n1'])(
    '%j is refused',
    (text) => expect(parseBytes(text)).toHaveProperty('error'),
  )

  it('are shown so that a person reads the same size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1024 ** 5 }), (bytes) => {
        const shown = parseBytes(formatBytes(bytes))
        expect(shown).toBeTypeOf('number')
        expect(Math.abs(Number(shown) - bytes)).toBeLessThanOrEqual(bytes * 0.05)
      }),
    )
  })
})

describe('cores and devices', () => {
  it('cores have thousandths, and m means them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4_096_000 }), (milli) => {
        expect(parseCpu(`${milli}m`)).toBe(milli / 1000)
        expect(parseCpu(milli / 1000)).toBe(milli / 1000)
      }),
    )
  })
  it.each(['0', '0.0001', '4097', '-1', '1.5.2', 'm', '1k', 'NaN'])('%j cores are refused', (text) =>
    expect(parseCpu(text)).toHaveProperty('error'),
  )
  it.each(['-1', '1.0', '65', '999', 'all', ''])('%j devices are refused', (text) =>
    expect(parseGpu(text)).toHaveProperty('error'),
  )
})

describe('resource texts', () => {
  it('mean the same in both spellings, in any order', () => {
    const amounts = fc.record({
      cpu: fc.integer({ min: 1, max: 4096 }),
      memory: fc.integer({ min: 1, max: 1000 }),
      gpu: fc.integer({ min: 0, max: 64 }),
      disk: fc.integer({ min: 0, max: 1000 }),
    })
    fc.assert(
      fc.property(amounts, fc.boolean(), ({ cpu, memory, gpu, disk }, turn) => {
        const design = [`mem=${memory}gb`, `vcore=${cpu}`, `gpu=${gpu}`, `disk=${disk}gb`]
        const ours = `cpu=${cpu},memory=${memory}Gi,nvidia.com/gpu=${gpu},disk=${disk}G`
        const expected = { cpu, memory: memory * 1024 ** 3, gpu, disk: disk * 1024 ** 3 }
        expect(parseResourceString((turn ? design.toReversed() : design).join(', '))).toEqual(expected)
        expect(parseResourceString(ours)).toEqual(expected)
        expect(parseResourceObject({ cpu, memory: `${memory}Gi`, gpu, disk: `${disk}G` })).toEqual(expected)
      }),
    )
  })

  it('leave what is not said at its default', () => {
    expect(parseResourceString('gpu=2')).toEqual({ ...defaultResources, gpu: 2 })
    expect(parseResourceObject({})).toEqual(defaultResources)
  })

  it('give resources or errors for any text, and never throw', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseResourceString(text)
        if (Array.isArray(parsed)) expect(parsed.length).toBeGreaterThan(0)
        else expect(Object.keys(parsed)).toEqual(['cpu', 'memory', 'gpu', 'disk'])
      }),
    )
  })
})

describe('durations', () => {
  it.each([
    ['30 mins', 1800],
    ['1h30m', 5400],
    ['45s', 45],
    ['2 days', 172_800],
    ['90', 90],
    [90, 90],
    ['1 hour 15 minutes', 4500],
    ['1.5h', 5400],
    [' 10 MIN ', 600],
  ])('%j', (text, seconds) => expect(parseDuration(text)).toBe(seconds))

  it.each(['', 'h', '5 x', '-1s', '1h-5m', '1h,5m', 'PT30M', 'NaN', '0.2s', '400 days', '1e3', 'Infinity'])(
    '%j is refused',
    (text) => expect(parseDuration(text)).toHaveProperty('error'),
  )

  it('add their parts up', () => {
    const amount = fc.integer({ min: 0, max: 59 })
    fc.assert(
      fc.property(amount, amount, amount, (h, m, s) => {
        fc.pre(h + m + s > 0)
        const seconds = h * 3600 + m * 60 + s
        expect(parseDuration(`${h}h ${m} min ${s} secs`)).toBe(seconds)
        expect(parseDuration(`${h}h${m}m${s}s`)).toBe(seconds)
      }),
    )
  })

  it('are shown by their two largest units, and never as more than they are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 366 * 86_400 }), (seconds) => {
        const shown = parseDuration(formatDuration(seconds))
        expect(shown).toBeLessThanOrEqual(seconds)
        expect(seconds - Number(shown)).toBeLessThan(seconds < 86_400 ? 60 : 3600)
      }),
    )
  })
})
