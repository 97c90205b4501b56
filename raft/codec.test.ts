import fc from 'fast-check'
import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { Reader, Writer } from './bytes.ts'
import { decodeMessage, encodeMessage } from './codec.ts'
import { crc32c } from './crc32c.ts'
import { decodeBatch, encodeBatch, seal } from './records.ts'
import { RaftError, type Entry, type Message } from './types.ts'

const num = fc.oneof(fc.nat(200), fc.maxSafeNat())
const bytes = fc.uint8Array({ maxLength: 40 }).map((b) => Buffer.from(b))
const entry: fc.Arbitrary<Entry> = fc.record({
  term: num,
  index: num,
  kind: fc.constantFrom('normal', 'config'),
  data: bytes,
})
const ids = fc.array(num, { maxLength: 4 })
const conf = fc.record({
  voters: ids,
  votersOutgoing: ids,
  learners: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
})
const meta = fc.record({ index: num, term: num, conf, bytes: num, crc32c: fc.nat(0xffff_ffff) })
const commands = fc.array(bytes, { maxLength: 4 })
const hint = { commit: num, commitTerm: num }
const of = <T extends Message['type'], F extends object>(type: T, fields: F) =>
  fc.record({ type: fc.constant(type), from: num, to: num, term: num, ...fields })
const message = fc.oneof(
  of('vote', { lastIndex: num, lastTerm: num, transfer: fc.boolean(), ...hint }),
  of('preVote', { lastIndex: num, lastTerm: num, transfer: fc.boolean(), ...hint }),
  of('voteReply', { granted: fc.boolean(), ...hint }),
  of('preVoteReply', { granted: fc.boolean(), ...hint }),
  of('append', { prevIndex: num, prevTerm: num, commit: num, entries: fc.array(entry, { maxLength: 5 }) }),
  of('appendReply', { index: num, rejected: fc.boolean(), hintIndex: num, hintTerm: num }),
  of('heartbeat', { commit: num, read: num }),
  of('heartbeatReply', { read: num }),
  of('snapshot', { meta }),
  of('timeoutNow', {}),
  of('readIndex', { id: fc.string() }),
  of('readIndexReply', { id: fc.string(), index: num }),
  of('propose', { origin: num, number: num, commands }),
  of('proposeRefused', { number: num, commands, certain: fc.boolean(), busy: fc.boolean() }),
) as fc.Arbitrary<Message>

test('every message comes back as it was', () => {
  fc.assert(
    fc.property(message, (m) => {
      expect(decodeMessage(Buffer.from(encodeMessage(m)))).toEqual(m)
    }),
    { numRuns: 1000 },
  )
})

test('a cut message, one with more behind it, and garbage are codec errors, nothing else', () => {
  const refuses = (data: Uint8Array) => {
    try {
      decodeMessage(data)
      return 'accepted'
    } catch (e) {
      return e instanceof RaftError ? e.code : String(e)
    }
  }
  fc.assert(
    fc.property(message, fc.nat(), (m, n) => {
      const data = encodeMessage(m)
      expect(refuses(data.subarray(0, n % data.length))).toBe('codec')
      expect(refuses(Buffer.concat([data, Buffer.from([0])]))).toBe('codec')
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (data) => ['accepted', 'codec'].includes(refuses(data))),
  )
  // A count that promises more than there is must not be believed.
  expect(
    refuses(
      new Writer()
        .byte(4)
        .int(1)
        .int(2)
        .int(3)
        .int(0)
        .int(0)
        .int(0)
        .int(2 ** 40)
        .done(),
    ),
  ).toBe('codec')
})

test('integers up to 2^53', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (n) => {
      const r = new Reader(new Writer(1).int(n).done())
      expect([r.int(), r.left]).toEqual([n, 0])
    }),
  )
  for (const n of [0, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 35, Number.MAX_SAFE_INTEGER])
    expect(new Reader(new Writer(1).int(n).done()).int()).toBe(n)
  for (const n of [-1, 1.5, 2 ** 53, NaN]) expect(() => new Writer().int(n)).toThrow(RaftError)
  expect(() => new Reader(Buffer.alloc(9, 0xff)).int()).toThrow(RaftError)
})

test('crc32c is Castagnoli, in one piece or several', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283) // RFC 3720's check value
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa)
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
  expect(crc32c(Buffer.from('123456789'))).not.toBe(crc32(Buffer.from('123456789')))
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (data, n) => {
      const cut = n % (data.length + 1)
      expect(crc32c(data.subarray(cut), crc32c(data.subarray(0, cut)))).toBe(crc32c(data))
    }),
  )
})

test('any flipped bit in a stored batch is noticed', () => {
  const batch = encodeBatch([
    { term: 3, index: 7, kind: 'normal', data: Buffer.from('hello') },
    { term: 3, index: 8, kind: 'config', data: Buffer.alloc(0) },
  ])
  expect(seal.open(batch, 'batch', decodeBatch)).toHaveLength(2)
  for (let bit = 0; bit < batch.length * 8; bit++) {
    const bad = Buffer.from(batch)
    bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7))
    expect(() => seal.open(bad, 'batch', decodeBatch)).toThrow(expect.objectContaining({ code: 'corrupt' }))
  }
})
