import { expect, test } from 'vitest'
import type { Image } from '../../../contract/images.ts'
import { type Api } from '../../api/client.ts'
import { allImages, daysOf, isBusy, type OnNode, placeOf, secondsOf, summary } from './images.ts'

const on = (more: Partial<OnNode> = {}): OnNode => ({
  ...{ node: 'node-1', name: 'host-1', engine: false, layers: false, pull: null, job: null },
  ...more,
})
const reason = { code: 'image_missing', message: 'no such image' }

test.each([
  [on(), 'none', '–'],
  [on({ layers: true }), 'layers', 'keeps a copy'],
  [on({ engine: true }), 'engine', 'ready'],
  [on({ engine: true, layers: true }), 'engine', 'ready, keeps a copy'],
  [on({ job: { kind: 'pull', reason: null } }), 'asked', 'is to get it'],
  [on({ engine: true, job: { kind: 'remove', reason: null } }), 'asked', 'is to remove it'],
  [on({ job: { kind: 'pull', reason } }), 'failed', 'could not get it'],
  [
    on({ pull: { bytes: 512, total: 1024 }, job: { kind: 'pull', reason: null } }),
    'coming',
    '512 B of 1 KiB',
  ],
  [on({ pull: { bytes: 512, total: null } }), 'coming', '512 B'],
] as const)('a node says what it has: %j', (node, kind, text) => {
  expect(placeOf(node)).toMatchObject({ kind, text })
})

test('many nodes are summed up, and those that change are noticed', () => {
  const nodes = [
    on({ engine: true }),
    on({ pull: { bytes: 1, total: null } }),
    on({ job: { kind: 'pull', reason } }),
  ]
  expect(summary(nodes)).toBe('ready on 1 of 3, 1 on the way, 1 failed')
  expect(isBusy([{ nodes } as Image])).toBe(true)
  expect(isBusy([{ nodes: [on({ job: { kind: 'pull', reason } })] } as Image])).toBe(false)
})

test('the list is read to its end', async () => {
  const asked: unknown[] = []
  const api = {
    call: async (_: string, { query }: { query: { page_token?: string } }) => {
      asked.push(query.page_token)
      return {
        items: [{ id: String(asked.length) }],
        next_page_token: asked.length < 3 ? `t${asked.length}` : null,
      }
    },
  } as unknown as Api
  expect((await allImages(api)).map(({ id }) => id)).toEqual(['1', '2', '3'])
  expect(asked).toEqual([undefined, 't1', 't2'])
})

test('the policy is given in days, or for ever', () => {
  expect([daysOf(null), daysOf(28 * 86_400), daysOf(43_200)]).toEqual(['', '28', '0.5'])
  expect([secondsOf(' '), secondsOf('28'), secondsOf('0.5'), secondsOf('0')]).toEqual([
    null,
    2_419_200,
    43_200,
    0,
  ])
  expect([secondsOf('-1'), secondsOf('a'), secondsOf('1e9'), secondsOf('99999')]).toEqual(
    Array(4).fill(undefined),
  )
})
