// Why raft/ is ours (docs/decisions/0001-raft-is-ours.md): what the npm package node-raft 1.0.1 does instead.
// Should a later version pass where this expects it to fail, the decision deserves another look.
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import {
  ClusterTransport,
  defaultConfig,
  FileStorage,
  InMemoryBus,
  MemoryStorage,
  RaftNode,
  type Storage,
} from 'node-raft'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

const names = ['a', 'b', 'c']
let bus: InMemoryBus
let nodes: RaftNode[] = []

beforeEach(() => {
  vi.useFakeTimers()
  bus = new InMemoryBus()
})
afterEach(async () => {
  await Promise.all(nodes.map((node) => node.stop()))
  nodes = []
  vi.useRealTimers()
})

async function startNode(nodeId: string, storage: Storage = new MemoryStorage()) {
  const apply = vi.fn(() => Promise.resolve())
  const stateMachine = {
    apply,
    snapshot: () => Promise.resolve(new Uint8Array()),
    restore: () => Promise.resolve(),
  }
  const peers = names.filter((name) => name !== nodeId)
  const node = new RaftNode({ nodeId, peers }, stateMachine, new ClusterTransport(bus), storage)
  nodes.push(node)
  await node.start()
  return { node, storage, apply }
}

/** What a leader "b" of term 1 gets for sending the first entry to "a", said to be committed. */
async function appendTo() {
  const sender = new ClusterTransport(bus)
  await sender.initialize('b', ['a'])
  return sender.sendRPC('a', {
    type: 'AppendEntries',
    term: 1,
    leaderId: 'b',
    prevLogIndex: 0,
    prevLogTerm: 0,
    entries: [{ index: 1, term: 1, command: 'pay' }],
    leaderCommit: 1,
  })
}

test('three nodes never elect a leader: the election timeout does nothing', async () => {
  const sent = vi.spyOn(bus, 'emit')
  const started = await Promise.all(names.map((name) => startNode(name)))
  expect(vi.getTimerCount()).toBe(names.length)

  await vi.advanceTimersByTimeAsync(1000 * defaultConfig.electionTimeoutMax)
  expect(vi.getTimerCount()).toBe(0)
  expect(sent).not.toHaveBeenCalled()
  for (const { node } of started) {
    expect(node.getState()).toMatchObject({ state: 'FOLLOWER', term: 0 })
    expect(node.getLeader().nodeId).toBeNull()
  }
})

test('a command submitted to a leader is reported as done and goes nowhere: submitCommand is empty', async () => {
  const [leader, ...others] = await Promise.all(names.map((name) => startNode(name)))
  await expect(leader!.node.submitCommand('pay')).rejects.toThrow('Not the leader')

  // No node can become the leader by itself.
  Object.assign(leader!.node, { currentState: 'LEADER' })
  const sent = vi.spyOn(bus, 'emit')
  await expect(leader!.node.submitCommand('pay')).resolves.toBeUndefined()
  await vi.advanceTimersByTimeAsync(1000 * defaultConfig.heartbeatInterval)
  expect(sent).not.toHaveBeenCalled()
  for (const { storage, apply } of [leader!, ...others]) {
    expect(await storage.getLastIndex()).toBe(0)
    expect(apply).not.toHaveBeenCalled()
  }
})

test('a committed entry is never applied', async () => {
  const { node, apply } = await startNode('a')
  expect(await appendTo()).toEqual({ term: 1, success: true })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(node.getState()).toMatchObject({ commitIndex: 1, lastApplied: 0 })
  expect(apply).not.toHaveBeenCalled()
})

test('an entry is acknowledged before it is on disk', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'node-raft-'))
  await startNode('a', new FileStorage(folder))
  expect(await appendTo()).toEqual({ term: 1, success: true })
  // No timer has fired since. What a restart would now read knows of the term, but not of the entry.
  const afterCrash = await new FileStorage(folder).loadState()
  expect(afterCrash).toMatchObject({ currentTerm: 1, log: [] })
  await rm(folder, { recursive: true })
})
