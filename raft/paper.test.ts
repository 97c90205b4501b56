import { describe, expect, test } from 'vitest'
import { encodeConfChange } from './codec.ts'
import { describeMessage } from './describe.ts'
import { One, TICKS, entry } from './testing/one.ts'
import { EMPTY_CONF, type Message } from './types.ts'

// One test per rule of the thesis (Ongaro 2014) or of a bug that others had. Founders' logs begin at 2, after 1 of term 1.

const only = (ms: Message[], type: Message['type']) => ms.filter((m) => m.type === type)
const texts = (ms: Message[]) => ms.map(describeMessage)

describe('elections (3.4, 9.6)', () => {
  test('a follower that hears nothing asks first, and changes neither term nor vote', () => {
    const one = new One()
    const out = one.tick(TICKS)
    expect(texts(out)).toEqual(['1->2 preVote term=2 last=1/1', '1->3 preVote term=2 last=1/1'])
    expect([one.node.role, one.node.term]).toEqual(['preCandidate', 1])
  })

  test('timeouts are random in [T, 2T) and drawn again', () => {
    const seen = new Set<number>()
    for (const r of [0, 0.31, 0.999]) {
      const one = new One({ rng: () => r })
      let ticks = 0
      while (one.node.role === 'follower') {
        one.tick()
        ticks++
      }
      expect(ticks).toBeGreaterThanOrEqual(TICKS)
      expect(ticks).toBeLessThan(2 * TICKS)
      seen.add(ticks)
    }
    expect(seen.size).toBe(3)
  })

  test('with a quorum of pre-votes it campaigns; vote requests and its own vote wait for the disk', () => {
    const one = new One()
    one.tick(TICKS)
    one.node.step({ type: 'preVoteReply', from: 2, to: 1, term: 2, granted: true, commit: 1, commitTerm: 1 })
    const ready = one.node.ready()
    expect(ready.hard).toEqual({ term: 2, vote: 1, commit: 1 })
    expect(ready.mustSync).toBe(true)
    expect(only([...ready.messages], 'vote')).toEqual([])
    expect(texts([...ready.afterSync])).toContain('1->2 vote term=2 last=1/1')
    expect(one.node.role).toBe('candidate')
    one.persist(ready)
    expect(one.step({ type: 'voteReply', from: 3, granted: true })).not.toEqual([])
    expect(one.node.role).toBe('leader')
  })

  test('votes are counted once per member', () => {
    const one = new One({ conf: { voters: [1, 2, 3, 4, 5] } })
    one.tick(TICKS)
    for (let i = 0; i < 3; i++) one.step({ type: 'preVoteReply', from: 2, term: 2, granted: true })
    expect(one.node.role).toBe('preCandidate')
    one.step({ type: 'preVoteReply', from: 3, term: 2, granted: true })
    for (let i = 0; i < 3; i++) one.step({ type: 'voteReply', from: 2, granted: true })
    expect(one.node.role).toBe('candidate')
    one.step({ type: 'voteReply', from: 2, granted: false })
    one.step({ type: 'voteReply', from: 4, granted: true })
    expect(one.node.role).toBe('leader')
  })

  test('a majority of refusals ends the candidacy within the term', () => {
    const one = new One()
    one.tick(TICKS)
    one.step({ type: 'preVoteReply', from: 2, granted: false })
    expect(one.node.role).toBe('preCandidate')
    one.step({ type: 'preVoteReply', from: 3, granted: false })
    expect([one.node.role, one.node.term]).toEqual(['follower', 1])
  })

  test('one vote per term, first come, remembered over a restart', () => {
    const one = new One()
    const ask = (from: number) => one.step({ type: 'vote', from, term: 5, lastIndex: 1, lastTerm: 1 })
    expect(texts(ask(2))).toEqual(['1->2 voteReply term=5 granted'])
    expect(texts(ask(3))).toEqual(['1->3 voteReply term=5 refused'])
    expect(texts(ask(2))).toEqual(['1->2 voteReply term=5 granted'])
    const { hard } = one.store.crashed().initial()
    expect(hard).toMatchObject({ term: 5, vote: 2 })
    const again = new One({ hard })
    expect(texts(again.step({ type: 'vote', from: 3, term: 5, lastIndex: 1, lastTerm: 1 }))).toEqual([
      '1->3 voteReply term=5 refused',
    ])
  })

  test('stepping down within a term keeps the vote', () => {
    const one = new One()
    one.lead(2)
    const { term } = one.node
    one.tick(2 * TICKS) // nobody answers: no quorum
    expect(one.node.role).not.toBe('leader')
    expect(texts(one.step({ type: 'vote', from: 2, term, lastIndex: 99, lastTerm: term }))).toEqual([
      `1->2 voteReply term=${term} refused`,
    ])
  })

  test('a vote leaves after it is durable', () => {
    const one = new One()
    one.node.step({
      type: 'vote',
      from: 2,
      to: 1,
      term: 2,
      lastIndex: 1,
      lastTerm: 1,
      transfer: false,
      commit: 1,
      commitTerm: 1,
    })
    const ready = one.node.ready()
    expect(ready.messages).toEqual([])
    expect(ready.hard).toEqual({ term: 2, vote: 2, commit: 1 })
    expect(texts([...ready.afterSync])).toEqual(['1->2 voteReply term=2 granted'])
  })

  test.each([
    [[2, 2], 3, 3, true],
    [[2, 2], 3, 1, true],
    [[2, 2], 2, 3, true],
    [[2, 2], 2, 2, false],
    [[2, 2], 1, 9, false],
  ])(
    'the election restriction: log %j, candidate with term %d index %d',
    (terms, lastTerm, lastIndex, granted) => {
      const one = new One({ terms })
      expect(one.step({ type: 'vote', from: 2, term: 9, lastIndex, lastTerm })).toMatchObject([{ granted }])
    },
  )

  test('while a leader is heard, others’ campaigns change nothing, except at its own wish', () => {
    const one = new One()
    one.step({ type: 'heartbeat', from: 2, term: 2 })
    expect(one.step({ type: 'preVote', from: 3, term: 9, lastIndex: 9, lastTerm: 9 })).toEqual([])
    expect(one.step({ type: 'vote', from: 3, term: 9, lastIndex: 9, lastTerm: 9 })).toEqual([])
    expect(one.node.term).toBe(2)
    expect(
      one.step({ type: 'vote', from: 3, term: 9, lastIndex: 9, lastTerm: 9, transfer: true }),
    ).toMatchObject([{ granted: true }])
  })

  test('a pre-vote never changes the term of who is asked', () => {
    const one = new One()
    expect(texts(one.step({ type: 'preVote', from: 3, term: 9, lastIndex: 9, lastTerm: 9 }))).toEqual([
      '1->3 preVoteReply term=9 granted',
    ])
    expect([one.node.term, one.node.leader]).toEqual([1, 0])
  })

  test('learners and strangers do not campaign, but vote', () => {
    for (const conf of [{ voters: [2, 3], learners: [1] }, { voters: [2, 3] }]) {
      const one = new One({ conf })
      expect(one.tick(5 * TICKS)).toEqual([])
      one.step({ type: 'timeoutNow', from: 2 })
      expect(one.node.role).toBe('follower')
      expect(one.step({ type: 'vote', from: 2, term: 9, lastIndex: 9, lastTerm: 9 })).toMatchObject([
        { granted: true },
      ])
    }
  })

  test('a higher term makes anybody a follower; a lower one is told', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 3, term: 50 })
    expect([one.node.role, one.node.term]).toEqual(['follower', 50])
    expect(texts(one.step({ type: 'heartbeat', from: 2, term: 3 }))).toEqual([
      '1->2 appendReply term=50 match=0',
    ])
  })

  test('a leader that a quorum does not answer steps down; with one it stays', () => {
    const one = new One()
    one.lead(2)
    for (let i = 0; i < 5; i++) {
      one.tick(TICKS / 2)
      one.step({ type: 'heartbeatReply', from: 3 })
    }
    expect(one.node.role).toBe('leader')
    one.tick(2 * TICKS)
    expect(one.node.role).toBe('follower')
  })

  test('a candidate yields to whoever leads the term', () => {
    const one = new One()
    one.tick(TICKS)
    one.step({ type: 'append', from: 3, prevIndex: 1, prevTerm: 1 })
    expect([one.node.role, one.node.leader]).toEqual(['follower', 3])
  })

  test('no campaign while a committed change waits to be applied', () => {
    const change = {
      ...entry(2, 1),
      kind: 'config' as const,
      data: encodeConfChange({ changes: [{ type: 'remove', id: 1 }] }),
    }
    const late = new One()
    late.node.step({ ...blankAppend, entries: [change], commit: 2 })
    const ready = late.node.ready()
    late.persist(ready)
    late.node.campaign() // committed, durable, not applied
    expect(late.node.role).toBe('follower')
  })
})

const blankAppend = {
  type: 'append' as const,
  from: 2,
  to: 1,
  term: 1,
  prevIndex: 1,
  prevTerm: 1,
  commit: 1,
  entries: [],
}

describe('replication (3.5, 3.6)', () => {
  test('a new leader appends an empty entry and sends it to all', () => {
    const one = new One()
    expect(texts(one.lead(2))).toEqual([
      '1->2 append term=2 prev=1/1 commit=1 [2/2 empty]',
      '1->3 append term=2 prev=1/1 commit=1 [2/2 empty]',
    ])
  })

  test('entries leave before they are durable here, and do not count here before', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.propose(Buffer.from('x'))
    const ready = one.node.ready()
    expect(texts([...ready.messages]).some((t) => t.includes('3 "x"'))).toBe(true)
    expect(ready.entries.map((e) => e.index)).toEqual([3])
    one.persist(ready)
    expect(one.node.commitIndex).toBe(2)
    one.step({ type: 'appendReply', from: 2, index: 3 })
    expect(one.node.commitIndex).toBe(3)
  })

  test('a write that takes long holds up neither heartbeats nor what others have stored', () => {
    const one = new One({ config: { heartbeatTicks: 1 } })
    one.lead(2)
    one.node.propose(Buffer.from('a'))
    const writing = one.node.ready()
    expect(writing.persist).toBe(true)
    one.node.tick()
    const ack = { type: 'appendReply', to: 1, term: one.node.term, index: 3, rejected: false } as const
    for (const from of [2, 3]) one.node.step({ ...ack, from, hintIndex: 0, hintTerm: 0 })
    const meanwhile = one.node.ready(false)
    expect(meanwhile.messages.filter((m) => m.type === 'heartbeat').map((m) => m.to)).toEqual([2, 3])
    expect(meanwhile.persist).toBe(false)
    expect(one.node.commitIndex).toBe(3)
    expect(meanwhile.committed).not.toContainEqual(expect.objectContaining({ index: 3 }))
    one.persist(writing)
    expect(one.node.ready().committed).toContainEqual(expect.objectContaining({ index: 3 }))
  })

  test('with one voter an entry is committed when it is durable, not before', () => {
    const one = new One({ conf: { voters: [1] } })
    one.node.campaign()
    one.drain()
    expect(one.node.role).toBe('leader')
    one.node.propose(Buffer.from('x'))
    const ready = one.node.ready()
    expect(ready.entries).toHaveLength(1)
    expect(one.node.commitIndex).toBe(2)
    one.persist(ready)
    one.drain()
    expect(one.applied.at(-1)?.index).toBe(3)
  })

  test('an entry of an older term is not committed by counting (figure 3.7)', () => {
    const one = new One({ terms: [2], hard: { term: 3 } })
    one.lead(2) // term 4: its own empty entry is index 3
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.step({ type: 'appendReply', from: 3, index: 2 })
    expect(one.node.commitIndex).toBe(1)
    one.step({ type: 'appendReply', from: 3, index: 3 })
    expect(one.node.commitIndex).toBe(3)
  })

  test('a follower replaces what conflicts, and acknowledges after the disk', () => {
    const one = new One({ terms: [2, 2, 2] })
    one.node.step({ ...blankAppend, term: 4, prevIndex: 2, prevTerm: 2, entries: [entry(3, 4)] })
    const ready = one.node.ready()
    expect(ready.messages).toEqual([])
    expect(texts([...ready.afterSync])).toEqual(['1->2 appendReply term=4 match=3'])
    one.persist(ready)
    expect(one.terms()).toEqual([2, 4])
  })

  test('a delayed older append shortens nothing, and a stale acknowledgement lowers nothing', () => {
    const one = new One({ terms: [1, 1, 1] })
    expect(texts(one.step({ ...blankAppend, entries: [entry(2, 1)] }))).toEqual([
      '1->2 appendReply term=1 match=2',
    ])
    expect(one.terms()).toEqual([1, 1, 1])
    const leader = new One()
    leader.lead(2)
    leader.step({ type: 'appendReply', from: 2, index: 2 })
    leader.step({ type: 'appendReply', from: 2, index: 1 })
    expect(leader.node.status().progress.get(2)?.match).toBe(2)
    expect(leader.node.commitIndex).toBe(2)
  })

  test('fifty conflicting entries cost two probes, not fifty', () => {
    const leader = new One({ terms: [1, ...Array.from({ length: 50 }, () => 5)], hard: { term: 6 } })
    const follower = new One({ id: 2, terms: [1, ...Array.from({ length: 50 }, () => 4)], hard: { term: 6 } })
    let out = leader.lead(2)
    let rounds = 0
    while (follower.node.status().lastIndex < 54 && rounds++ < 10) {
      const answers = out.filter((m) => m.to === 2).flatMap((m) => (follower.node.step(m), follower.drain()))
      out = answers.flatMap((m) => (leader.node.step(m), leader.drain()))
      if (follower.terms().join() === leader.terms().join()) break
    }
    expect(follower.terms()).toEqual(leader.terms())
    expect(rounds).toBeLessThanOrEqual(3)
  })

  test('a paused follower is resumed by a heartbeat’s answer', () => {
    const one = new One({ config: { maxInflightMessages: 1 } })
    one.lead(2)
    expect(one.node.propose(Buffer.from('a'))).toMatchObject({ index: 3 })
    expect(only(one.drain(), 'append').filter((m) => m.to === 3)).toEqual([])
    const out = one.step({ type: 'heartbeatReply', from: 3 })
    expect(texts(out)).toEqual(['1->3 append term=2 prev=1/1 commit=1 [2/2 empty, 2/3 "a"]'])
  })

  test('proposals of one moment share a message', () => {
    const one = new One()
    one.lead(2)
    for (const from of [2, 3]) one.step({ type: 'appendReply', from, index: 2 })
    for (let i = 0; i < 100; i++) one.node.propose(Buffer.from('x'))
    expect(only(one.drain(), 'append').map((m) => m.type === 'append' && m.entries.length)).toEqual([
      100, 100,
    ])
  })

  test('too much uncommitted: busy, until it is applied', () => {
    const one = new One({ config: { maxUncommittedBytes: 100 } })
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    expect(one.node.propose(Buffer.alloc(500))).toMatchObject({ index: 3 }) // one always fits
    expect(one.node.propose(Buffer.alloc(1))).toBe('busy')
    one.drain()
    one.step({ type: 'appendReply', from: 2, index: 3 })
    expect(one.node.propose(Buffer.alloc(1))).toMatchObject({ index: 4 })
  })

  test('only the leader takes proposals', () => {
    expect(new One().node.propose(Buffer.from('x'))).toBe('dropped')
  })

  test('a heartbeat commits no more than the follower is known to have', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    expect(texts(only(one.tick(), 'heartbeat'))).toEqual([
      '1->2 heartbeat term=2 commit=2',
      '1->3 heartbeat term=2 commit=0',
    ])
  })

  test('a commit index beyond the log stops the member', () => {
    const one = new One()
    expect(() => one.step({ type: 'heartbeat', from: 2, commit: 99 })).toThrow(/truncated or lost/)
    expect(() => new One({ hard: { commit: 7 } })).toThrow(/truncated or lost/)
  })
})

describe('snapshots (5)', () => {
  const meta = { index: 20, term: 3, conf: { ...EMPTY_CONF, voters: [1, 2, 3] }, bytes: 1, crc32c: 0 }

  test('replace a log that does not contain them, and are acknowledged after installation', () => {
    const one = new One({ terms: [2, 2] })
    one.node.step({ type: 'snapshot', from: 2, to: 1, term: 4, meta })
    const ready = one.node.ready()
    expect(ready.snapshot).toEqual(meta)
    expect(one.node.hasPendingSnapshot).toBe(true)
    one.node.campaign()
    expect(one.node.role).toBe('follower') // its log says nothing yet
    expect(texts([...ready.afterSync])).toEqual(['1->2 appendReply term=4 match=20'])
    one.persist(ready)
    expect(one.node.status()).toMatchObject({
      applied: 20,
      commit: 20,
      lastIndex: 20,
      firstIndex: 21,
      term: 4,
    })
  })

  test('that are contained only commit; older ones and those for others do nothing', () => {
    const have = Array.from({ length: 25 }, () => 3)
    const one = new One({ terms: have })
    one.step({ type: 'snapshot', from: 2, meta })
    expect(one.node.status()).toMatchObject({ commit: 20, lastIndex: 26 })
    const stranger = new One({ terms: [2] })
    const others = { ...meta, conf: { ...EMPTY_CONF, voters: [2, 3] } }
    expect(texts(stranger.step({ type: 'snapshot', from: 2, meta: others }))).toEqual([
      '1->2 appendReply term=2 match=1',
    ])
    const late = new One({ terms: have, hard: { commit: 22 } })
    expect(texts(late.step({ type: 'snapshot', from: 2, meta }))).toEqual([
      '1->2 appendReply term=3 match=22',
    ])
  })

  test('are sent to who needs compacted entries and answers; a stored one must know the receiver', () => {
    const one = new One({ conf: { voters: [1, 2], learners: [9] } })
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    const rejected = () => one.step({ type: 'appendReply', from: 9, index: 1, rejected: true })
    expect(only(rejected(), 'snapshot')).toEqual([])
    expect(one.node.takeSnapshotWanted()).toBe(true)
    one.store.createNow({ index: 2, term: 2, conf: { ...EMPTY_CONF, voters: [1, 2] } }, Buffer.from('x'))
    expect(only(one.step({ type: 'heartbeatReply', from: 9 }), 'snapshot')).toEqual([])
    one.node.propose(Buffer.from('y'))
    one.drain()
    one.step({ type: 'appendReply', from: 2, index: 3 })
    one.store.createNow({ index: 3, term: 2, conf: one.node.conf }, Buffer.from('x'))
    expect(only(one.step({ type: 'heartbeatReply', from: 9 }), 'snapshot')).toHaveLength(1)
    expect(one.node.status().progress.get(9)).toMatchObject({ state: 'snapshot', next: 4 })
    expect(only(one.step({ type: 'heartbeatReply', from: 9 }), 'snapshot')).toEqual([]) // one at a time
    one.node.reportSnapshot(9, false)
    expect(one.node.status().progress.get(9)).toMatchObject({ state: 'probe', next: 1 })
    one.step({ type: 'heartbeatReply', from: 9 })
    one.node.reportSnapshot(9, true)
    one.step({ type: 'appendReply', from: 9, index: 3 })
    expect(one.node.status().progress.get(9)).toMatchObject({ state: 'replicate', match: 3 })
  })
})

describe('reads (6.4)', () => {
  test('wait for the first commit of the term', () => {
    const one = new One()
    one.lead(2)
    one.node.readIndex('a')
    expect(only(one.drain(), 'heartbeat')).toEqual([])
    one.step({ type: 'heartbeatReply', from: 2, read: 0 })
    expect(one.reads).toEqual([])
    const out = one.step({ type: 'appendReply', from: 2, index: 2 })
    expect(texts(only(out, 'heartbeat'))).toContain('1->2 heartbeat term=2 commit=2 read=1')
    one.step({ type: 'heartbeatReply', from: 2, read: 1 })
    expect(one.reads).toEqual([{ id: 'a', index: 2 }])
  })

  test('an acknowledgement confirms what was asked before it, never later reads', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.readIndex('a')
    one.node.readIndex('b')
    one.drain()
    one.node.readIndex('c')
    one.drain()
    one.step({ type: 'heartbeatReply', from: 3, read: 2 })
    expect(one.reads.map((r) => r.id)).toEqual(['a', 'b'])
    one.step({ type: 'heartbeatReply', from: 3, read: 2 }) // again
    expect(one.reads).toHaveLength(2)
    one.step({ type: 'heartbeatReply', from: 2, read: 3 })
    expect(one.reads.map((r) => r.id)).toEqual(['a', 'b', 'c'])
  })

  test('a follower asks the leader; learners’ acknowledgements do not count', () => {
    const one = new One({ conf: { voters: [1, 2, 3], learners: [4] } })
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.step({ type: 'readIndex', from: 4, term: 0, id: 'x' } as never)
    expect(only(one.step({ type: 'heartbeatReply', from: 4, read: 1 }), 'readIndexReply')).toEqual([])
    expect(texts(only(one.step({ type: 'heartbeatReply', from: 3, read: 1 }), 'readIndexReply'))).toEqual([
      '1->4 readIndexReply term=2 id=x index=2',
    ])
    const follower = new One()
    expect(follower.node.readIndex('y')).toBe(false)
    follower.step({ type: 'heartbeat', from: 2, term: 2 })
    expect(follower.node.readIndex('y')).toBe(true)
    expect(texts(follower.drain())).toEqual(['1->2 readIndex term=0 id=y'])
  })

  test('are forgotten with leadership', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.readIndex('a')
    one.drain()
    one.step({ type: 'heartbeat', from: 3, term: 9 })
    one.step({ type: 'heartbeatReply', from: 2, term: 9, read: 1 })
    expect(one.reads).toEqual([])
  })
})

describe('leadership transfer (3.10)', () => {
  test('sends the rest, then the word; takes no proposals meanwhile; gives up after a timeout', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.transferTo(3)
    expect(one.node.propose(Buffer.from('x'))).toBe('dropped')
    expect(only(one.drain(), 'timeoutNow')).toEqual([])
    expect(texts(only(one.step({ type: 'appendReply', from: 3, index: 2 }), 'timeoutNow'))).toEqual([
      '1->3 timeoutNow term=2',
    ])
    for (let i = 0; i < TICKS; i++) {
      one.tick()
      one.step({ type: 'heartbeatReply', from: 2 })
    }
    expect(one.node.propose(Buffer.from('x'))).toMatchObject({ index: 3 })
  })

  test('the target campaigns at once, without a pre-vote', () => {
    const one = new One()
    one.step({ type: 'heartbeat', from: 2, term: 2 })
    expect(texts(one.step({ type: 'timeoutNow', from: 2 }))).toContain('1->2 vote term=3 last=1/1 transfer')
  })

  test('never to a learner or a stranger', () => {
    const one = new One({ conf: { voters: [1, 2], learners: [3] } })
    one.lead(2)
    for (const to of [3, 9]) one.node.transferTo(to)
    expect(one.node.transferring).toBe(0)
  })
})

describe('membership (4)', () => {
  const add = (id: number) => ({ changes: [{ type: 'learner' as const, id }] })

  test('no change before the leader has committed in its own term, and one at a time', () => {
    const one = new One({ terms: [1] })
    one.lead(2)
    expect(() => one.node.proposeConf(add(4))).toThrow(expect.objectContaining({ code: 'conf_pending' }))
    one.step({ type: 'appendReply', from: 2, index: 3 })
    expect(one.node.proposeConf(add(4))).toMatchObject({ index: 4 })
    expect(() => one.node.proposeConf(add(5))).toThrow(expect.objectContaining({ code: 'conf_pending' }))
    one.drain()
    expect(one.node.conf.learners).toEqual([]) // not before it is applied
    one.step({ type: 'appendReply', from: 3, index: 4 })
    expect(one.node.conf.learners).toEqual([4])
    expect(() =>
      one.node.proposeConf({
        changes: [
          { type: 'remove', id: 4 },
          { type: 'voter', id: 0 },
        ],
      }),
    ).toThrow(expect.objectContaining({ code: 'conf_invalid' }))
  })

  test('a joint configuration is left by itself, by whoever leads', () => {
    const one = new One({ conf: { voters: [1, 2, 3], learners: [4] } })
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.proposeConf({
      changes: [
        { type: 'voter', id: 4 },
        { type: 'remove', id: 3 },
      ],
    })
    one.drain()
    one.step({ type: 'appendReply', from: 2, index: 3 })
    expect(one.node.conf).toMatchObject({ voters: [1, 2, 4], votersOutgoing: [1, 2, 3] })
    expect(one.store.lastIndex()).toBe(4) // the proposal to leave
    one.step({ type: 'appendReply', from: 3, index: 4 })
    expect(one.node.conf.votersOutgoing).not.toEqual([]) // 1 and 3: no majority of the incoming half
    one.step({ type: 'appendReply', from: 4, index: 4 })
    expect(one.node.conf).toMatchObject({ voters: [1, 2, 4], votersOutgoing: [] })

    const successor = new One({ conf: { voters: [1, 2], votersOutgoing: [1, 3], autoLeave: true } })
    successor.lead(2, 3)
    for (const from of [2, 3]) successor.step({ type: 'appendReply', from, index: 2 })
    for (const from of [2, 3]) successor.step({ type: 'appendReply', from, index: 3 })
    expect(successor.node.conf).toMatchObject({ voters: [1, 2], votersOutgoing: [] })
  })

  test('a transfer that fails does not leave the joint configuration behind', () => {
    const one = new One({ conf: { voters: [1, 2, 3], learners: [4] } })
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.proposeConf({
      changes: [
        { type: 'voter', id: 4 },
        { type: 'remove', id: 3 },
      ],
    })
    one.drain()
    one.node.transferTo(2)
    for (const from of [2, 4]) one.step({ type: 'appendReply', from, index: 3 })
    expect(one.node.conf.votersOutgoing).toEqual([1, 2, 3])
    // The target does not take over. Nobody proposes anything else, so only the leader itself can go on.
    for (let i = 0; i < TICKS; i++) {
      one.tick()
      for (const from of [2, 4]) one.step({ type: 'heartbeatReply', from })
    }
    for (const from of [2, 4]) one.step({ type: 'appendReply', from, index: 4 })
    expect(one.node.conf).toMatchObject({ voters: [1, 2, 4], votersOutgoing: [] })
  })

  test('after a restart the configuration is that of the applied entries, no more and no less', () => {
    const one = new One()
    one.lead(2)
    one.step({ type: 'appendReply', from: 2, index: 2 })
    one.node.proposeConf(add(4))
    one.drain()
    one.step({ type: 'appendReply', from: 2, index: 3 })
    const store = one.store.crashed()
    expect(store.lastIndex()).toBe(3)
    expect(new One({ store, config: { applied: 3 } }).node.conf.learners).toEqual([4])
    const replayed = new One({ store, config: { applied: 2 } })
    expect(replayed.node.conf.learners).toEqual([])
    replayed.step({ ...blankAppend, term: 2, prevIndex: 3, prevTerm: 2, commit: 3 })
    expect(replayed.node.conf.learners).toEqual([4])
  })

  test('a leader that is removed tells the others what is committed, then steps down', () => {
    const one = new One()
    one.lead(2)
    for (const from of [2, 3]) one.step({ type: 'appendReply', from, index: 2 })
    one.node.proposeConf({ changes: [{ type: 'remove', id: 1 }] })
    one.drain()
    const out = one.step({ type: 'appendReply', from: 2, index: 3 })
    expect(texts(out)).toContain('1->2 append term=2 prev=2/3 commit=3 []')
    expect(one.node.role).toBe('follower')
    expect(one.tick(5 * TICKS)).toEqual([])
  })

  test('who needs a removed member’s vote learns from its refusal that it does not', () => {
    // 1 was removed by entry 3, which it knows to be committed, and has one entry more than the candidate.
    const removed = new One({
      conf: { voters: [2] },
      terms: [2, 2, 2],
      hard: { commit: 3 },
      config: { applied: 3 },
    })
    const change = {
      ...entry(3, 2),
      kind: 'config' as const,
      data: encodeConfChange({ changes: [{ type: 'remove', id: 1 }] }),
    }
    const candidate = new One({ id: 2, conf: { voters: [1, 2] } })
    candidate.node.step({ ...blankAppend, from: 1, to: 2, term: 2, entries: [entry(2, 2), change] })
    candidate.drain()
    const [ask] = only(candidate.tick(TICKS), 'preVote')
    removed.node.step(ask as Message)
    const [refusal] = removed.drain()
    expect(refusal).toMatchObject({ granted: false, commit: 3, commitTerm: 2 })
    candidate.node.step(refusal as Message)
    candidate.drain()
    expect(candidate.node.conf.voters).toEqual([2])
    candidate.tick(2 * TICKS)
    expect(candidate.node.role).toBe('leader')
  })
})
