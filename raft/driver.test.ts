import { afterEach, expect, test } from 'vitest'
import { Members, text, until } from './testing/members.ts'
import { MemoryStore } from './memory-store.ts'
import { StoreError } from './store.ts'
import { EMPTY_CONF, RaftError, type Message } from './types.ts'

let members: Members
afterEach(() => members.close())

const cmd = (s: string) => Buffer.from(s)

async function agree(ids: readonly number[], list: readonly string[]): Promise<void> {
  await until(() => ids.every((id) => members.get(id).machine.list.length >= list.length))
  for (const id of ids) expect(members.get(id).machine.list).toEqual(list)
}

test('one member alone: proposes, reads, and finds everything again after a crash', async () => {
  members = new Members()
  await members.found([1])
  const { driver } = members.get(1)
  for (let i = 0; i < 20; i++) expect(text((await driver.propose(cmd(`c${i}`))).result)).toBe(String(i + 1))
  expect(await driver.barrier()).toBeGreaterThanOrEqual(20)
  const { driver: again, machine } = await members.restart(1)
  await again.barrier()
  expect(machine.list).toEqual(Array.from({ length: 20 }, (_, i) => `c${i}`))
})

test('three members: a follower proposes and reads its own write', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const follower = members.get(leader.id === 1 ? 2 : 1)
  const { index, result } = await follower.driver.propose(cmd('x'))
  expect(text(result)).toBe('1')
  expect(follower.machine.list).toEqual(['x']) // applied here, not only there
  expect(await follower.driver.barrier()).toBeGreaterThanOrEqual(index)
  await agree([1, 2, 3], ['x'])
})

test('a barrier sees what another member acknowledged', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  await members.leader()
  for (let i = 0; i < 30; i++) {
    await members.get(1 + (i % 3)).driver.propose(cmd(`${i}`))
    const reader = members.get(1 + ((i + 1) % 3))
    await reader.driver.barrier()
    expect(reader.machine.list.length).toBe(i + 1)
  }
})

test('the leader dies with commands under way: each runs exactly once', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const ids = [1, 2, 3].filter((id) => id !== leader.id)
  const proposer = members.get(ids[0] as number)
  // Answers about appended entries vanish for a while, so that commands are appended and their fate is unknown.
  members.hub.filter = (m) => !(m.type === 'append' && m.to === proposer.id && m.from === leader.id)
  const sent: string[] = []
  const results = Array.from({ length: 50 }, (_, i) => {
    sent.push(`c${i}`)
    return proposer.driver.propose(cmd(`c${i}`))
  })
  const last = members.get(ids[1] as number)
  await until(() => last.driver.status().lastIndex > 2)
  await members.kill(leader.id)
  members.hub.filter = () => true
  await Promise.all(results)
  expect([...proposer.machine.list].sort()).toEqual([...sent].sort())
  await agree(ids, proposer.machine.list)
})

test('every command is forwarded twice, and runs once', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const proposer = members.get(leader.id === 1 ? 2 : 1)
  members.hub.filter = (m) => {
    if (m.type === 'propose' && m.from !== 99) setImmediate(() => proposerTransportRepeat(m))
    return true
  }
  const repeat = members.hub.connect(99)
  const proposerTransportRepeat = (m: Message) => repeat.send([{ ...m, from: 99, origin: 99 } as Message])
  await Promise.all(Array.from({ length: 20 }, (_, i) => proposer.driver.propose(cmd(`c${i}`))))
  await proposer.driver.barrier()
  expect(new Set(proposer.machine.list).size).toBe(20)
  expect(proposer.machine.list.length).toBe(20)
})

/** Copies of the messages in which a member forwards commands, to be delivered once more. */
function copies(): { readonly taken: Message[]; deliver: () => void } {
  const taken: Message[] = []
  const wire = members.hub.connect(99)
  return { taken, deliver: () => wire.send(taken.splice(0)) }
}

test('what was appended is not reported as refused when its message comes a second time', async () => {
  members = new Members({ maxUncommittedBytes: 100 })
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const proposer = members.get(leader.id === 1 ? 2 : 1)
  await proposer.driver.propose(cmd('warm'))
  const again = copies()
  let arrived = 0
  members.hub.filter = (m) => {
    if (m.type === 'propose' && arrived++ === 0) again.taken.push(m)
    return m.type !== 'appendReply'
  }
  const result = proposer.driver.propose(Buffer.alloc(200, 'x'))
  let told = 'nothing'
  result.then(
    () => (told = 'done'),
    (e: RaftError) => (told = e.code),
  )
  await until(
    () => again.taken.length > 0 && leader.driver.status().lastIndex > leader.driver.status().commit,
  )
  again.deliver()
  await until(() => arrived === 2)
  await proposer.driver.barrier() // a round trip later than any refusal
  expect(told).toBe('nothing')
  members.hub.filter = () => true
  await result
})

test('what was refused is not appended when its message comes a second time', async () => {
  members = new Members({ maxUncommittedBytes: 100 })
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const proposer = members.get(leader.id === 1 ? 2 : 1)
  await Promise.all([leader, proposer].map(({ driver }) => driver.propose(cmd('warm'))))
  const again = copies()
  members.hub.filter = (m) => {
    if (m.type === 'propose') again.taken.push(m)
    return m.type !== 'appendReply'
  }
  const first = leader.driver.propose(Buffer.alloc(200, 'x'))
  await expect(proposer.driver.propose(cmd('refused'))).rejects.toMatchObject({ code: 'busy' })
  members.hub.filter = () => true
  await first
  expect(again.taken.length).toBe(1)
  again.deliver()
  await proposer.driver.propose(cmd('after'))
  await leader.driver.barrier()
  expect(leader.machine.list).toEqual(['warm', 'warm', 'x'.repeat(200), 'after'])
})

test('who does not lead in the term that is meant says nothing certain, and appends nothing', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const other = members.get(leader.id === 1 ? 2 : 1)
  const heard: Message[] = []
  const wire = members.hub.connect(99)
  wire.onMessage((m) => heard.push(m))
  const { term, lastIndex } = leader.driver.status()
  for (const [to, about] of [
    [leader.id, term - 1],
    [other.id, term],
  ] as const)
    wire.send([
      { type: 'propose', from: 99, to, term: about, origin: 99, number: 1, commands: [cmd('late')] },
    ])
  await until(() => heard.length === 2)
  expect(heard).toMatchObject([
    { type: 'proposeRefused', number: 1, certain: false, busy: false },
    { type: 'proposeRefused', number: 1, certain: false, busy: false },
  ])
  expect(leader.driver.status()).toMatchObject({ term, lastIndex })
})

test('without a leader a command fails as not done; with an unknown fate as timeout', async () => {
  members = new Members({ timeoutMs: 300 })
  await members.found([1, 2, 3])
  const leader = await members.leader()
  await leader.driver.propose(cmd('warm')) // registered
  const [a, b] = [1, 2, 3].filter((id) => id !== leader.id) as [number, number]
  for (const id of [a, b]) members.hub.isolate(id)
  await expect(leader.driver.propose(cmd('lost?'))).rejects.toMatchObject({ code: 'timeout' })
  await until(() => leader.driver.status().leader === 0)
  await expect(leader.driver.propose(cmd('no'))).rejects.toMatchObject({ code: 'no_leader' })
  await expect(leader.driver.barrier()).rejects.toMatchObject({ code: 'no_leader' })
})

test('a deposed leader that does not know it serves no read', async () => {
  members = new Members({ timeoutMs: 8000 })
  await members.found([1, 2, 3])
  const old = await members.leader()
  members.hub.isolate(old.id)
  const stale = old.driver.barrier({ timeoutMs: 60_000 }).then(
    (index) => index,
    () => 0,
  )
  const rest = [1, 2, 3].filter((id) => id !== old.id)
  const next = await members.leader(rest)
  const { index } = await next.driver.propose(cmd('new'))
  members.hub.heal(old.id)
  expect(await stale).toBeGreaterThanOrEqual(index)
  expect(old.machine.list).toEqual(['new'])
})

test('growth from one to three voters by learners, with snapshots to the new', async () => {
  members = new Members()
  await members.found([1])
  const { driver } = members.get(1)
  for (let i = 0; i < 10; i++) await driver.propose(cmd(`c${i}`))
  for (const id of [2, 3]) {
    await members.start(id)
    await expect(driver.changeMembers({ changes: [{ type: 'voter', id }] })).rejects.toMatchObject({
      code: 'not_ready',
    })
    const conf = await driver.changeMembers({ changes: [{ type: 'learner', id }] })
    expect(conf.learners).toEqual([id])
    await until(() => members.get(id).machine.list.length === 10)
    await until(() => driver.status().progress.get(id)?.state === 'replicate')
    await driver.changeMembers({ changes: [{ type: 'voter', id }] })
  }
  expect(driver.status().conf).toMatchObject({ voters: [1, 2, 3], learners: [] })
  await members.get(3).driver.propose(cmd('end'))
  await agree([1, 2, 3], [...Array.from({ length: 10 }, (_, i) => `c${i}`), 'end'])
  expect(members.get(2).driver.metrics().snapshotsInstalled).toBe(1)
  await members.kill(1)
  await members.leader([2, 3])
  await members.get(2).driver.propose(cmd('without the founder'))
})

test('a member that missed more than the log holds gets a snapshot, the sessions with it', async () => {
  members = new Members({ snapshotEntries: 50, trailingEntries: 10 })
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const away = [1, 2, 3].find((id) => id !== leader.id) as number
  await members.get(away).driver.propose(cmd('registered'))
  members.hub.isolate(away)
  const proposing = members.get(away).driver.propose(cmd('while away'), { timeoutMs: 15_000 })
  for (let i = 0; i < 120; i++) await leader.driver.propose(cmd(`c${i}`))
  await until(() => leader.driver.status().firstIndex > members.get(away).driver.status().lastIndex)
  members.hub.heal(away)
  await proposing
  await until(() => members.get(away).machine.list.length === 122)
  expect(members.get(away).driver.metrics().snapshotsInstalled).toBeGreaterThan(0)
  expect(members.get(away).machine.list).toEqual(leader.machine.list)
})

test('the larger the state, the more log there is between its snapshots', async () => {
  members = new Members({ snapshotEntries: 5, trailingEntries: 0 })
  await members.found([1])
  const { driver } = members.get(1)
  const taken: number[] = []
  // 12 MB in all: a snapshot of all that is there each 5 entries would be 12 of them, and write 78 MB.
  for (let i = 1; i <= 60; i++) {
    await driver.propose(Buffer.alloc(200_000, `${i % 10}`))
    const count = () => driver.metrics()['snapshotsTaken'] ?? 0
    if (count() > taken.length) taken.push(i)
  }
  expect(taken.length).toBeGreaterThan(3)
  expect(taken.length).toBeLessThan(7)
  const between = taken.slice(1).map((at, i) => at - (taken[i] as number))
  expect(between.at(-1)).toBeGreaterThan(2 * (between[0] as number))
})

test('a state that was thrown away is rebuilt from the own snapshot and log', async () => {
  members = new Members({ snapshotEntries: 30, trailingEntries: 5 })
  await members.found([1])
  for (let i = 0; i < 100; i++) await members.get(1).driver.propose(cmd(`c${i}`))
  const before = members.get(1).machine.list
  await until(() => (members.get(1).store.snapshot()?.index ?? 0) > 60)
  const { store } = await members.kill(1)
  const again = await members.start(1, store)
  await again.driver.barrier()
  expect(again.machine.list).toEqual(before)
})

test('all members crash and come back', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  await members.leader()
  const list = Array.from({ length: 30 }, (_, i) => `c${i}`)
  for (const [i, c] of list.entries()) await members.get(1 + (i % 3)).driver.propose(cmd(c))
  const left = []
  for (const id of [1, 2, 3]) left.push({ id, ...(await members.kill(id)) })
  for (const { id, store, machine } of left) await members.start(id, store, machine)
  await members.leader()
  for (const id of [1, 2, 3]) await members.get(id).driver.barrier()
  await agree([1, 2, 3], list)
})

test('several changes at once go through a joint configuration that is left by itself', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const gone = leader.id === 3 ? 2 : 3
  await members.start(4)
  await leader.driver.changeMembers({ changes: [{ type: 'learner', id: 4 }] })
  await until(() => leader.driver.status().progress.get(4)?.state === 'replicate')
  const seen: boolean[] = []
  leader.driver.onChange((s) => seen.push(s.conf.votersOutgoing.length > 0))
  const conf = await leader.driver.changeMembers({
    changes: [
      { type: 'voter', id: 4 },
      { type: 'learner', id: gone },
    ],
  })
  expect(conf.learners).toEqual([gone])
  expect(conf.voters).toContain(4)
  expect(seen).toContain(true)
  expect(conf.votersOutgoing).toEqual([])
})

test('members are changed at the leader only, and never to nobody', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const follower = members.get(leader.id === 1 ? 2 : 1)
  const remove = (id: number) => ({ changes: [{ type: 'remove' as const, id }] })
  await expect(follower.driver.changeMembers(remove(3))).rejects.toMatchObject({ code: 'not_leader' })
  await expect(leader.driver.changeMembers({ changes: [] })).rejects.toMatchObject({ code: 'conf_invalid' })
  await leader.driver.changeMembers(remove(follower.id))
  const third = [1, 2, 3].find((id) => id !== leader.id && id !== follower.id) as number
  await leader.driver.changeMembers(remove(third))
  await expect(leader.driver.changeMembers(remove(leader.id))).rejects.toMatchObject({ code: 'conf_invalid' })
  await leader.driver.propose(cmd('alone'))
})

test('a leader that removes itself leaves a cluster that works', async () => {
  members = new Members()
  await members.found([1, 2])
  const leader = await members.leader()
  const other = members.get(leader.id === 1 ? 2 : 1)
  await leader.driver.changeMembers({ changes: [{ type: 'remove', id: leader.id }] })
  await members.kill(leader.id)
  await other.driver.propose(cmd('on'))
  expect(other.driver.status().conf.voters).toEqual([other.id])
})

test('leadership is handed over', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const to = leader.id === 3 ? 1 : 3
  await leader.driver.transferLeadership(to)
  expect((await members.leader()).id).toBe(to)
  await expect(leader.driver.transferLeadership(2)).rejects.toMatchObject({ code: 'not_leader' })
})

test('too large, and stopped', async () => {
  members = new Members({ maxCommandBytes: 100 })
  await members.found([1])
  const { driver } = members.get(1)
  await expect(driver.propose(Buffer.alloc(101))).rejects.toMatchObject({ code: 'too_large' })
  await driver.close()
  await expect(driver.propose(cmd('x'))).rejects.toBeInstanceOf(RaftError)
  await expect(driver.barrier()).rejects.toMatchObject({ code: 'stopped' })
})

test('too much uncommitted data is answered with busy, and ends', async () => {
  members = new Members({ maxUncommittedBytes: 10_000 })
  await members.found([1, 2, 3])
  const leader = await members.leader()
  await leader.driver.propose(cmd('warm'))
  const rest = [1, 2, 3].filter((id) => id !== leader.id)
  members.hub.filter = (m) => m.type !== 'append'
  const results = Array.from({ length: 5 }, () => leader.driver.propose(Buffer.alloc(4000)))
  const codes = (await Promise.allSettled(results.slice(2))).map((r) =>
    r.status === 'rejected' ? (r.reason as RaftError).code : 'ok',
  )
  expect(codes).toEqual(['busy', 'busy', 'busy'])
  members.hub.filter = () => true
  await Promise.all(results.slice(0, 2))
  await members.get(rest[0] as number).driver.propose(Buffer.alloc(4000))
})

test('a failed write stops the member at once, and nothing is acknowledged after it', async () => {
  members = new Members()
  const store = new MemoryStore({ ...EMPTY_CONF, voters: [1] })
  const { driver, failures } = await members.start(1, store)
  await driver.propose(cmd('a'))
  store.append = () => Promise.reject(new Error('no space left'))
  await expect(driver.propose(cmd('b'))).rejects.toMatchObject({ code: 'stopped' })
  expect(failures.map((e) => e.message)).toEqual(['no space left'])
  await expect(driver.propose(cmd('c'))).rejects.toMatchObject({ code: 'stopped' })
})

test('a state machine that throws, or cannot flush, stops the member', async () => {
  members = new Members()
  await members.found([1])
  const { driver, machine, failures } = members.get(1)
  await driver.propose(cmd('a'))
  machine.failFlush = new Error('state disk full')
  await driver.propose(cmd('b')).catch(() => {})
  await until(() => failures.length === 1)
  expect(failures[0]?.message).toBe('state disk full')
  const { store } = await members.kill(1)
  const again = await members.start(1, store)
  await again.driver.barrier()
  again.machine.apply = () => {
    throw new Error('unknown command')
  }
  await again.driver.propose(cmd('c')).catch(() => {})
  expect(again.failures.map((e) => e.message)).toEqual(['unknown command'])
})

test('a log that is shorter than what the state machine has applied is refused', async () => {
  members = new Members()
  await members.found([1])
  for (let i = 0; i < 5; i++) await members.get(1).driver.propose(cmd(`c${i}`))
  await until(() => members.get(1).machine.applied >= 5)
  const { machine } = await members.kill(1)
  const empty = new MemoryStore({ ...EMPTY_CONF, voters: [1] })
  await expect(members.start(1, empty, machine)).rejects.toMatchObject({ code: 'corrupt' })
})

test('a damaged snapshot is refused for what it is, before anything of it is used', async () => {
  members = new Members()
  const conf = { ...EMPTY_CONF, voters: [1] }
  const store = new MemoryStore(conf)
  store.createNow({ index: 2, term: 1, conf }, cmd('an image'))
  store.openSnapshot = async function* () {
    yield Buffer.alloc(4)
    throw new StoreError('corrupt', 'the checksum at the end does not match')
  }
  await expect(members.start(1, store)).rejects.toMatchObject({ code: 'corrupt' })
})

test('a change of the members outlives a power cut, also when nothing is written after it', async () => {
  members = new Members()
  await members.found([1, 2, 3])
  const leader = await members.leader()
  const conf = await leader.driver.changeMembers({ changes: [{ type: 'learner', id: 4 }] })
  expect(conf.learners).toEqual([4])
  const { lastIndex } = leader.driver.status()
  const durable = (id: number) => {
    const { store } = members.get(id)
    return (store as MemoryStore).afterPowerCut().hard.commit
  }
  await until(() => [1, 2, 3].every((id) => durable(id) === lastIndex))
})
