// A stranger's program: three cores in memory, messages carried by hand.
import assert from 'node:assert/strict'
import { EMPTY_CONF, MemoryStore, RaftNode, defaultRaftConfig, describeStatus } from 'submarine-raft'

const ids = [1, 2, 3]
const stores = new Map(ids.map((id) => [id, new MemoryStore({ ...EMPTY_CONF, voters: ids })]))
const nodes = new Map(
  ids.map((id) => {
    // Different, and the same in every run.
    const chance = () => id / 4
    return [id, new RaftNode({ ...defaultRaftConfig, id, applied: 1 }, stores.get(id), chance)]
  }),
)
const applied = new Map(ids.map((id) => [id, []]))

async function work() {
  let busy = true
  while (busy) {
    busy = false
    for (const [id, node] of nodes) {
      if (!node.hasReady()) continue
      busy = true
      const ready = node.ready()
      deliver(ready.messages)
      if (ready.persist) {
        await stores.get(id).append(ready.entries, ready.hard, ready.mustSync)
        node.persisted(ready)
      }
      deliver(ready.afterSync)
      for (const e of ready.committed) if (e.data.length > 0) applied.get(id).push(String(e.data))
      const last = ready.committed.at(-1)
      if (last) node.applied(last.index)
    }
  }
}

function deliver(messages) {
  for (const m of messages) nodes.get(m.to).step(m)
}

let leader
for (let ticks = 0; !leader && ticks < 100; ticks++) {
  for (const node of nodes.values()) node.tick()
  await work()
  leader = [...nodes.values()].find((node) => node.role === 'leader')
}
assert.ok(leader, 'no leader was elected')
assert.deepEqual(
  [...nodes.values()].map((node) => node.leader),
  [leader.id, leader.id, leader.id],
)
for (const command of ['a', 'b', 'c']) assert.equal(typeof leader.propose(Buffer.from(command)), 'object')
await work()
for (let i = 0; i < 3; i++) {
  leader.tick()
  await work()
}
for (const id of ids)
  assert.deepEqual(applied.get(id), ['a', 'b', 'c'], describeStatus(nodes.get(id).status()))
console.log(`leader ${leader.id} committed ${leader.commitIndex}`)
