import { afterEach, describe, expect, test } from 'vitest'
import { crc32c } from './crc32c.ts'
import { systemEnv, type Env } from './env.ts'
import { MemoryStore } from './memory-store.ts'
import { StoreError, type SnapshotBytes } from './store.ts'
import { paced } from './transfers.ts'
import { Members, until, type Member } from './testing/members.ts'
import { EMPTY_CONF, type SnapshotMessage } from './types.ts'

let members: Members
afterEach(() => members.close())

/** Each snapshot that is sent: which one, and from where on. */
interface Sent {
  readonly index: number
  readonly from: number
}

/** Transfers pass, or are cut after so many bytes, or wait. */
function watchTransfers(o: { cutAfter?: () => number; gate?: Promise<void> } = {}): Sent[] {
  const sent: Sent[] = []
  members.hub.transfer = (m: SnapshotMessage, data: SnapshotBytes): SnapshotBytes =>
    async function* (from) {
      sent.push({ index: m.meta.index, from })
      await o.gate
      const most = o.cutAfter?.() ?? Infinity
      let passed = 0
      for await (const piece of data(from)) {
        const left = most - passed
        yield piece.subarray(0, left)
        passed += Math.min(left, piece.length)
        if (passed >= most) throw new Error('the line broke')
      }
    }
  return sent
}

async function write(to: Member, count: number, bytes = 20): Promise<void> {
  for (let i = 0; i < count; i += 20)
    await Promise.all(
      Array.from({ length: 20 }, (_, k) => to.driver.propose(Buffer.from(`${i + k}`.padEnd(bytes, '.')))),
    )
}

/** Three members, one of them away until there is a snapshot and no log that reaches back to it. */
async function withOneBehind(): Promise<{ leader: Member; away: number }> {
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const away = leader.id === 3 ? 2 : 3
  members.hub.isolate(away)
  await write(leader, 200)
  await until(() => leader.store.firstIndex() > 100)
  return { leader, away }
}

async function caughtUp(leader: Member, away: number): Promise<void> {
  await until(() => members.get(away).machine.list.length === leader.machine.list.length)
  expect(members.get(away).machine.list).toEqual(leader.machine.list)
}

const often = { snapshotEntries: 40, trailingEntries: 5 }

describe('a snapshot is never sent without end', () => {
  test('newer ones are taken meanwhile: one transfer is enough, the log goes on after it', async () => {
    members = new Members(often)
    const { leader, away } = await withOneBehind()
    const gate = Promise.withResolvers<void>()
    const sent = watchTransfers({ gate: gate.promise })
    members.hub.heal(away)
    await until(() => sent.length === 1)
    const first = sent[0] as Sent
    await write(leader, 400)
    await until(() => (leader.store.snapshot()?.index ?? 0) > first.index + 200)
    expect(leader.store.firstIndex()).toBeLessThanOrEqual(first.index + 1)
    gate.resolve()
    await caughtUp(leader, away)
    expect(sent).toEqual([{ index: first.index, from: 0 }])
    // And then the log is cut again.
    await write(leader, 100)
    await until(() => leader.store.firstIndex() > first.index + 400)
  })

  test('a line that breaks every 500 bytes: each attempt goes on where the last one was, with the same snapshot', async () => {
    members = new Members(often)
    const { leader, away } = await withOneBehind()
    const sent = watchTransfers({ cutAfter: () => 500 })
    members.hub.heal(away)
    while (members.get(away).driver.metrics()['snapshotsInstalled'] === 0) await write(leader, 20)
    await caughtUp(leader, away)
    expect(new Set(sent.map((s) => s.index)).size).toBe(1)
    expect(sent.map((s) => s.from)).toEqual(sent.map((_, i) => i * 500))
    expect(sent.length).toBeGreaterThan(5)
  })

  test('attempts that bring nothing are given up for the newest snapshot', async () => {
    members = new Members(often)
    const { leader, away } = await withOneBehind()
    let broken = true
    const sent = watchTransfers({ cutAfter: () => (broken ? 0 : Infinity) })
    members.hub.heal(away)
    while (new Set(sent.map((s) => s.index)).size < 2) await write(leader, 20)
    broken = false
    await caughtUp(leader, away)
  })

  test('a receiver that is slower than the log grows does not keep it for ever', async () => {
    members = new Members({ ...often, snapshotBytes: 4_000 })
    const { leader, away } = await withOneBehind()
    const gate = Promise.withResolvers<void>()
    const sent = watchTransfers({ gate: gate.promise })
    members.hub.heal(away)
    await until(() => sent.length === 1)
    const { index } = sent[0] as Sent
    await write(leader, 1200, 100)
    await until(() => leader.store.firstIndex() > index + 1)
    expect(leader.store.bytesAfter(0)).toBeLessThan(8 * 4_000 + 40 * 200 * 4)
    // What it was sent can still be read, and is: it needs another one afterwards, which it gets.
    gate.resolve()
    await caughtUp(leader, away)
    expect(sent.length).toBeGreaterThan(1)
  })
})

test('a limit of bytes per second is kept to, whatever the time that reading takes', async () => {
  members = new Members()
  let now = 0
  const waits: number[] = []
  const env: Env = {
    ...systemEnv,
    now: () => now,
    after(ms, f) {
      waits.push(ms)
      now += ms
      f()
      return () => {}
    },
  }
  async function* data() {
    for (const size of [1000, 500, 1000]) {
      now += size === 500 ? 800 : 100
      yield Buffer.alloc(size)
    }
  }
  for await (const _ of paced(data(), env, 1000)) continue
  // The slow piece in the middle is made up for.
  expect(waits).toEqual([900, 700 - 100])
  waits.length = 0
  for await (const _ of paced(data(), env, Infinity)) continue
  expect(waits).toEqual([])
})

test('a snapshot at whose index the receiver has another entry replaces all of its log, once', async () => {
  members = new Members(often)
  await members.found([1, 2, 3])
  const old = await members.leader()
  await write(old, 20) // registers its client
  // The old leader appends entries that nobody else gets; at the same indexes the others commit theirs.
  members.hub.isolate(old.id)
  for (let i = 0; i < 300; i++)
    old.driver.propose(Buffer.from(`lost ${i}`), { timeoutMs: 50 }).catch(() => {})
  await until(() => old.store.lastIndex() > 250)
  const rest = [1, 2, 3].filter((id) => id !== old.id)
  const leader = await members.leader(rest)
  await write(leader, 200)
  await until(() => leader.store.firstIndex() > 150)
  const meta = leader.store.snapshot()
  expect(old.store.term(meta?.index ?? 0)).toBeDefined()
  expect(old.store.term(meta?.index ?? 0)).not.toBe(meta?.term)
  const sent = watchTransfers()
  members.hub.heal(old.id)
  await caughtUp(leader, old.id)
  expect(sent).toHaveLength(1)
  expect(old.machine.list.some((c) => c.startsWith('lost'))).toBe(false)
  await write(leader, 20)
  await caughtUp(leader, old.id)
  expect(old.failures).toEqual([])
})

test('a sender that vanished in the middle does not keep the next leader’s snapshot out', async () => {
  members = new Members(often)
  const { leader, away } = await withOneBehind()
  let sends = 0
  const dead = new Promise<void>(() => {})
  members.hub.transfer = (_m, data) =>
    async function* (from) {
      const first = sends++ === 0
      for await (const piece of data(from)) {
        yield first ? piece.subarray(0, 300) : piece
        if (first) await dead
      }
    }
  members.hub.heal(away)
  await until(() => sends === 1)
  const { store, machine } = await members.kill(leader.id)
  const next = await members.leader()
  await members.start(leader.id, store, machine)
  await caughtUp(next, away)
  expect(sends).toBe(2)
})

test('a snapshot that arrives damaged is asked for again, from its beginning, and stops nobody', async () => {
  members = new Members(often)
  const { leader, away } = await withOneBehind()
  let damaged = 0
  const froms: number[] = []
  members.hub.transfer = (_m, data) =>
    async function* (from) {
      froms.push(from)
      for await (const piece of data(from)) {
        const copy = Uint8Array.from(piece)
        if (damaged++ === 0) copy[0] = (copy[0] as number) ^ 4
        yield copy
      }
    }
  members.hub.heal(away)
  await caughtUp(leader, away)
  expect(froms).toEqual([0, 0])
  expect(members.get(away).failures).toEqual([])
})

test('a snapshot of its own that a leader cannot read ends the leader, not the receiver', async () => {
  members = new Members(often)
  const { leader, away } = await withOneBehind()
  const { store } = leader
  store.holdSnapshot = () => ({
    meta: store.snapshot() ?? expect.fail('there is a snapshot'),
    async *read() {
      yield Buffer.from('x')
      throw new StoreError('corrupt', 'a rotten snapshot')
    },
    release: () => Promise.resolve(),
  })
  members.hub.heal(away)
  await until(() => leader.failures.length === 1)
  expect(leader.failures[0]?.message).toBe('a rotten snapshot')
  members.hub.remove(leader.id)
  members.running.delete(leader.id)
  await members.leader()
  await caughtUp(members.get([1, 2, 3].find((id) => id !== leader.id && id !== away) ?? 0), away)
})

test('the memory store keeps what came of a snapshot, for exactly the same one', async () => {
  members = new Members()
  const store = new MemoryStore(EMPTY_CONF)
  const text = Buffer.from('imported')
  const meta = { index: 9, term: 2, conf: EMPTY_CONF, bytes: 8, crc32c: crc32c(text) }
  const asked: number[] = []
  const part = async function* (from: number) {
    asked.push(from)
    yield text.subarray(from, from + 3)
    if (from < 6) throw new Error('the line broke')
  }
  await expect(store.receiveSnapshot(meta, part)).rejects.toThrow('broke')
  await expect(store.receiveSnapshot({ ...meta, term: 3 }, part)).rejects.toThrow('broke')
  await expect(store.receiveSnapshot(meta, part)).rejects.toThrow('broke')
  await expect(store.receiveSnapshot(meta, part)).rejects.toThrow('broke')
  await store.receiveSnapshot(meta, part)
  expect(asked).toEqual([0, 0, 0, 3, 6])
})
