import { expect, test } from 'vitest'
import type { Member } from './member.ts'
import { Sender } from './sender.ts'
import type { Snapshots } from './snapshots.ts'
import type { AppendMessage, Message } from './types.ts'

/** A sender whose time passes by hand, and what left. */
function byHand() {
  const sent: Message[] = []
  let timer: (() => void) | undefined
  const member = {
    o: { id: 1, transport: { send: (messages: readonly Message[]) => sent.push(...messages) } },
    env: {
      after: (_ms: number, f: () => void) => {
        timer = f
        return () => (timer = undefined)
      },
    },
    metrics: { messagesOut: 0 },
  }
  const sender = new Sender(member as unknown as Member, {} as Snapshots)
  return { sender, sent, pass: () => timer?.(), waits: () => timer !== undefined }
}

const append = (to: number, commit: number, entries = 0): AppendMessage => ({
  type: 'append',
  from: 1,
  to,
  term: 2,
  prevIndex: 5,
  prevTerm: 2,
  commit,
  entries: Array.from({ length: entries }, (_, i) => ({
    term: 2,
    index: 6 + i,
    kind: 'normal',
    data: new Uint8Array(1),
  })),
})

test('a commit index alone waits a moment, and goes when nothing else has said it', () => {
  const { sender, sent, pass, waits } = byHand()
  sender.send([append(2, 5), append(3, 5)])
  expect(sent).toEqual([])
  pass()
  expect(sent).toEqual([append(2, 5), append(3, 5)])
  expect(waits()).toBe(false)
})

test('the next entries take its place, for the follower that gets them', () => {
  const { sender, sent, pass } = byHand()
  sender.send([append(2, 5), append(3, 5)])
  sender.send([append(2, 5, 1)])
  expect(sent).toEqual([append(2, 5, 1)])
  pass()
  expect(sent).toEqual([append(2, 5, 1), append(3, 5)])
})

test('a follower whose client waits for the entry hears of its commit at once', () => {
  const { sender, sent } = byHand()
  sender.awaits(3, 6)
  sender.send([append(2, 5, 1), append(3, 5, 1)])
  sender.send([append(2, 6), append(3, 6)])
  expect(sent.slice(2)).toEqual([append(3, 6)])
  sender.send([append(3, 7)])
  expect(sent.slice(3), 'what comes after it is nobody waiting for').toEqual([])
})

test('a reader hears of the commit before it is told to read', () => {
  const { sender, sent } = byHand()
  const reply: Message = { type: 'readIndexReply', from: 1, to: 2, term: 2, id: 'r', index: 5 }
  sender.send([append(2, 5), append(3, 5)])
  sender.send([reply])
  expect(sent).toEqual([append(2, 5), reply])
})

test('heartbeats and entries are not held, nothing is sent to itself', () => {
  const { sender, sent, waits } = byHand()
  const heartbeat: Message = { type: 'heartbeat', from: 1, to: 2, term: 2, commit: 5, read: 0 }
  sender.send([heartbeat, append(3, 5, 2), append(1, 5, 1)])
  expect(sent).toEqual([heartbeat, append(3, 5, 2)])
  expect(waits()).toBe(false)
})

test('at the end nothing is kept back', () => {
  const { sender, sent, waits } = byHand()
  sender.send([append(2, 5)])
  sender.release()
  expect(sent).toEqual([append(2, 5)])
  expect(waits()).toBe(false)
})
