import { Reader, Writer } from './bytes.ts'
import {
  RaftError,
  type ConfChange,
  type ConfChangeItem,
  type ConfState,
  type Entry,
  type Message,
  type SnapshotMeta,
} from './types.ts'

// Codes are positions in these lists: append only, they are on disk and on the wire.
const messageTypes = [
  'vote',
  'preVote',
  'voteReply',
  'preVoteReply',
  'append',
  'appendReply',
  'heartbeat',
  'heartbeatReply',
  'snapshot',
  'timeoutNow',
  'readIndex',
  'readIndexReply',
  'propose',
  'proposeRefused',
] as const satisfies Message['type'][]
const entryKinds = ['normal', 'config'] as const satisfies Entry['kind'][]
const changeTypes = ['voter', 'learner', 'remove'] as const satisfies ConfChangeItem['type'][]

const flag = (b: boolean): number => (b ? 1 : 0)

function pick<T>(list: readonly T[], code: number, what: string): T {
  const value = list[code]
  if (value === undefined) throw new RaftError('codec', `unknown ${what} ${code}`)
  return value
}

function list<T>(r: Reader, one: () => T): T[] {
  const n = r.count()
  const out: T[] = []
  for (let i = 0; i < n; i++) out.push(one())
  return out
}

export function writeEntry(w: Writer, e: Entry): void {
  w.byte(entryKinds.indexOf(e.kind)).int(e.term).int(e.index).bytes(e.data)
}

export function readEntry(r: Reader): Entry {
  const kind = pick(entryKinds, r.byte(), 'entry kind')
  return { kind, term: r.int(), index: r.int(), data: r.bytes() }
}

export function writeConf(w: Writer, c: ConfState): void {
  for (const ids of [c.voters, c.votersOutgoing, c.learners, c.learnersNext]) {
    w.int(ids.length)
    for (const id of ids) w.int(id)
  }
  w.byte(flag(c.autoLeave))
}

export function readConf(r: Reader): ConfState {
  const ids = () => list(r, () => r.int())
  return { voters: ids(), votersOutgoing: ids(), learners: ids(), learnersNext: ids(), autoLeave: r.bool() }
}

export function writeMeta(w: Writer, m: SnapshotMeta): void {
  w.int(m.index).int(m.term).int(m.bytes).u32(m.crc32c)
  writeConf(w, m.conf)
}

export function readMeta(r: Reader): SnapshotMeta {
  return { index: r.int(), term: r.int(), bytes: r.int(), crc32c: r.u32(), conf: readConf(r) }
}

/** The data of a config entry. Leaving a joint configuration is the empty string, which no size limit can refuse. */
export function encodeConfChange(c: ConfChange): Uint8Array {
  if (c.changes.length === 0) return new Uint8Array(0)
  const w = new Writer(64).int(c.changes.length)
  for (const item of c.changes) w.byte(changeTypes.indexOf(item.type)).int(item.id)
  return w.done()
}

/** Throws RaftError `codec` for anything that encodeConfChange did not write. */
export function decodeConfChange(data: Uint8Array): ConfChange {
  if (data.length === 0) return { changes: [] }
  const r = new Reader(data)
  const changes = list(r, () => ({ type: pick(changeTypes, r.byte(), 'change type'), id: r.int() }))
  r.end()
  return { changes }
}

/** A message as it goes over the wire, without frame. */
export function encodeMessage(m: Message): Buffer {
  const size = m.type === 'append' ? m.entries.reduce((n, e) => n + e.data.length + 24, 64) : 128
  const w = new Writer(size)
  writeMessage(w, m)
  return w.done()
}

export function writeMessage(w: Writer, m: Message): void {
  w.byte(messageTypes.indexOf(m.type)).int(m.from).int(m.to).int(m.term)
  writeBody(w, m)
}

function writeBody(w: Writer, m: Message): void {
  switch (m.type) {
    case 'vote':
    case 'preVote':
      w.int(m.lastIndex).int(m.lastTerm).byte(flag(m.transfer)).int(m.commit).int(m.commitTerm)
      break
    case 'voteReply':
    case 'preVoteReply':
      w.byte(flag(m.granted)).int(m.commit).int(m.commitTerm)
      break
    case 'append':
      w.int(m.prevIndex).int(m.prevTerm).int(m.commit).int(m.entries.length)
      for (const e of m.entries) writeEntry(w, e)
      break
    case 'appendReply':
      w.int(m.index).byte(flag(m.rejected)).int(m.hintIndex).int(m.hintTerm)
      break
    case 'heartbeat':
      w.int(m.commit).int(m.read)
      break
    case 'heartbeatReply':
      w.int(m.read)
      break
    case 'snapshot':
      writeMeta(w, m.meta)
      break
    case 'timeoutNow':
      break
    case 'readIndex':
      w.text(m.id)
      break
    case 'readIndexReply':
      w.text(m.id).int(m.index)
      break
    case 'propose':
      w.int(m.origin).int(m.number)
      writeCommands(w, m.commands)
      break
    case 'proposeRefused':
      w.int(m.number)
      writeCommands(w, m.commands)
      w.byte(flag(m.certain)).byte(flag(m.busy))
      break
  }
}

function writeCommands(w: Writer, commands: readonly Uint8Array[]): void {
  w.int(commands.length)
  for (const c of commands) w.bytes(c)
}

/** Throws RaftError 'codec' for anything that is not exactly one message. */
export function decodeMessage(data: Uint8Array): Message {
  const r = new Reader(data)
  const type = pick(messageTypes, r.byte(), 'message type')
  const m = readBody(r, type, { from: r.int(), to: r.int(), term: r.int() })
  r.end()
  return m
}

function readBody(r: Reader, type: Message['type'], a: { from: number; to: number; term: number }): Message {
  switch (type) {
    case 'vote':
    case 'preVote':
      return {
        type,
        ...a,
        lastIndex: r.int(),
        lastTerm: r.int(),
        transfer: r.bool(),
        commit: r.int(),
        commitTerm: r.int(),
      }
    case 'voteReply':
    case 'preVoteReply':
      return { type, ...a, granted: r.bool(), commit: r.int(), commitTerm: r.int() }
    case 'append':
      return {
        type,
        ...a,
        prevIndex: r.int(),
        prevTerm: r.int(),
        commit: r.int(),
        entries: list(r, () => readEntry(r)),
      }
    case 'appendReply':
      return { type, ...a, index: r.int(), rejected: r.bool(), hintIndex: r.int(), hintTerm: r.int() }
    case 'heartbeat':
      return { type, ...a, commit: r.int(), read: r.int() }
    case 'heartbeatReply':
      return { type, ...a, read: r.int() }
    case 'snapshot':
      return { type, ...a, meta: readMeta(r) }
    case 'timeoutNow':
      return { type, ...a }
    case 'readIndex':
      return { type, ...a, id: r.text() }
    case 'readIndexReply':
      return { type, ...a, id: r.text(), index: r.int() }
    case 'propose':
      return { type, ...a, origin: r.int(), number: r.int(), commands: list(r, () => r.bytes()) }
    case 'proposeRefused':
      return {
        type,
        ...a,
        number: r.int(),
        commands: list(r, () => r.bytes()),
        certain: r.bool(),
        busy: r.bool(),
      }
  }
}
