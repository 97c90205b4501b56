import type { KeyValueInput, KeyValueOutput } from './key-value.ts'
import type { Operation } from './model.ts'

/**
 * A history as a picture, one line a client, time to the right; an operation runs from bar to bar, one that ends in dots
 * got no answer.
 *
 *     a: |put 1    |        |get 2 v7|
 *     b:     |cas 1 2 v7  |
 *     c:        |put 3 ...
 *
 * `get -` found nothing, `cas 1 2 no` and `del no` were refused, `cas v7 2` writes over a version, `v7` at the end is the
 * version answered, `y.get 1` is about key y (x otherwise).
 */
export function diagram(picture: string): Operation<KeyValueInput, KeyValueOutput>[] {
  const lines = picture.split('\n').filter((line) => line.trim())
  return lines.flatMap((line) => {
    const client = line.slice(0, line.indexOf(':')).trim()
    return [...line.matchAll(/\|([^|]+?)\s*(\||\.\.\.)/g)].map(({ 0: whole, 1: text = '', index }) => {
      const answered = whole.endsWith('|')
      const [input, output] = read(text.trim())
      return {
        client,
        input,
        output: answered ? output : undefined,
        call: index,
        return: answered ? index + whole.length - 1 : Infinity,
      }
    })
  })
}

function read(text: string): [KeyValueInput, KeyValueOutput] {
  const match = /^(?:(\w+)\.)?(get|put|cas|del)((?: \S+)*)$/.exec(text)
  if (!match) throw new SyntaxError(`not an operation: ${text}`)
  const [, key = 'x', kind, rest = ''] = match
  const words = rest.trim().split(' ')
  const last = words.at(-1) ?? ''
  const version = /^v\d+$/.test(last) && words.length > 1 ? Number(words.pop()?.slice(1)) : undefined
  const numbered = version === undefined ? {} : { version }
  const done = words.at(-1) !== 'no'
  const [first = '', second = ''] = words
  if (kind === 'get')
    return [
      { kind, key },
      { value: first === '-' ? null : first, ...numbered },
    ]
  if (kind === 'put') return [{ kind, key, value: first }, numbered]
  if (kind === 'del')
    return [
      { kind: 'delete', key },
      { done, ...numbered },
    ]
  const over = /^v\d+$/.test(first)
    ? { version: Number(first.slice(1)) }
    : { expect: first === '-' ? null : first }
  return [
    { kind: 'cas', key, ...over, value: second },
    { done, ...numbered },
  ]
}
