import { describe, expect, it } from 'vitest'
import { SpecError } from '../failure.ts'
import { parseSpecText } from './read.ts'

const linesOf = (job: () => unknown): readonly string[] => {
  try {
    const result = job()
    if (result instanceof SpecError) return result.lines
  } catch (error) {
    if (error instanceof SpecError) return error.lines
    throw error
  }
  throw new Error('no error')
}

describe('spec files', () => {
  it('place each field error at its line, in YAML and JSON alike', () => {
    const yaml = 'name: a\nroles:\n  worker:\n    resources:\n      gpu: many\n'
    const json = '{\n  "roles": {"worker":\n    {"resources": {"gpu": "many"}}}\n}'
    const errors = [{ pointer: '/roles/worker/resources/gpu', message: 'expected a number' }]
    expect(linesOf(() => parseSpecText(yaml, 'a.yaml').explain(errors))[0]).toMatch(/^a.yaml:5:12 {2}\/roles/)
    expect(linesOf(() => parseSpecText(json, 'a.json').explain(errors))[0]).toMatch(/^a.json:3:27 {2}\/roles/)
  })

  it('place a missing field at its nearest parent, and read escaped pointers', () => {
    const file = parseSpecText('env:\n  a/b: 1\nroles: {}\n', 'f')
    const at = (pointer: string) => linesOf(() => file.explain([{ pointer, message: 'm' }]))[0]?.split(' ')[0]
    expect(at('/env/a~1b')).toBe('f:2:8')
    expect(at('/roles/worker/command')).toBe('f:3:8')
    expect(at('')).toBe('f:1:1')
  })

  it.each([
    ['a: [1', /^f:1:\d+/],
    ['a: 1\na: 2', /^f:2:1/],
    ['a: 1\n---\nb: 2', /^f:2:1/],
    ['a: !!js/function "x"\n\tb: 1', /^f:2:1/],
  ])('tell where %j breaks', (text, place) => {
    expect(linesOf(() => parseSpecText(text, 'f'))[0]).toMatch(place)
  })

  it('refuse aliases that multiply', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]']
    for (let i = 0; i < 8; i++) {
      const [from, to] = ['abcdefghi'[i] ?? '', 'abcdefghi'[i + 1] ?? '']
      bomb.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(',')}]`)
    }
    expect(() => parseSpecText(bomb.join('\n'), 'f')).toThrow(SpecError)
  })
})
