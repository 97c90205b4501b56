import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { interleave, mergeInOrder } from './merge.ts'

async function* from<T>(items: readonly T[], failure?: Error): AsyncGenerator<T> {
  yield* items
  if (failure) throw failure
}
async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}
const sources = fc.array(fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 20 }), { maxLength: 6 })

describe('sources merged in order', () => {
  it('give everything once, in order', async () => {
    await fc.assert(
      fc.asyncProperty(sources, async (lists) => {
        const sorted = lists.map((list) => list.toSorted((a, b) => a - b))
        const merged = await collect(mergeInOrder(sorted.map((list) => from(list)), (a, b) => a < b)) // prettier-ignore
        expect(merged).toEqual(lists.flat().toSorted((a, b) => a - b))
      }),
    )
  })

  it('are closed when the reader stops', async () => {
    const closed: string[] = []
    async function* endless(name: string) {
      try {
        for (let at = 0; ; at++) yield at
      } finally {
        closed.push(name)
      }
    }
    for await (const at of mergeInOrder([endless('a'), endless('b')], (a, b) => a < b)) if (at === 3) break
    expect(closed.toSorted()).toEqual(['a', 'b'])
  })
})

describe('interleaved sources', () => {
  it('give everything once, each source in its order', async () => {
    await fc.assert(
      fc.asyncProperty(sources, async (lists) => {
        const tagged = lists.map((list, source) => from(list.map((value) => ({ source, value }))))
        const got = await collect(interleave(tagged, new AbortController().signal))
        for (const [source, list] of lists.entries())
          expect(got.filter((item) => item.source === source).map((item) => item.value)).toEqual(list)
      }),
    )
  })

  it('fail when one does, after the others have told all', async () => {
    const got: number[] = []
    const reading = (async () => {
      const all = [from([1], new Error('lost')), from([2, 3])]
      for await (const item of interleave(all, new AbortController().signal)) got.push(item)
    })()
    await expect(reading).rejects.toThrow('lost')
    expect(got.toSorted()).toEqual([1, 2, 3])
  })

  it('run ahead of a slow reader by a bounded number', async () => {
    let made = 0
    async function* fast() {
      for (;;) yield ++made
    }
    for await (const item of interleave([fast()], new AbortController().signal)) {
      for (let turn = 0; turn < 200; turn++) await Promise.resolve()
      if (item === 1) break
    }
    expect(made).toBeLessThan(70)
  })

  it('end when the signal aborts', async () => {
    const control = new AbortController()
    async function* waiting() {
      yield 1
      await new Promise((resolve) => control.signal.addEventListener('abort', resolve))
    }
    const got: number[] = []
    for await (const item of interleave([waiting()], control.signal)) {
      got.push(item)
      control.abort()
    }
    expect(got).toEqual([1])
  })
})
