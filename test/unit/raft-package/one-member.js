// A stranger's program: `one-member.js DIR create|open COMMAND…` runs commands on a driver with a real store, and prints
// the state and the index that it was applied at.
import path from 'node:path'
import { DiskStore, EMPTY_CONF, RaftDriver, levelDisk } from 'submarine-raft'

const [dir, how, ...commands] = process.argv.slice(2)
const identity = { id: 1, clusterId: 'stranger' }
const folder = path.join(dir, 'member')
const store =
  how === 'create'
    ? await DiskStore.create(levelDisk(folder), { ...identity, conf: { ...EMPTY_CONF, voters: [1] } })
    : await DiskStore.open(levelDisk(folder), identity)

/** Keeps nothing itself, so after a restart all of it comes from the log. */
const list = []
const stateMachine = {
  applied: 0,
  sessions: async () => [],
  apply({ data }) {
    list.push(String(data))
    return Buffer.from(String(list.length))
  },
  flush: async () => {},
  snapshot: () => {
    throw new Error('too little was written for a snapshot')
  },
  restore: async () => {},
}
const transport = {
  send() {},
  onMessage() {},
  sendSnapshot: () => Promise.reject(new Error('nobody is there')),
  onSnapshot() {},
}
const driver = await RaftDriver.open({
  id: 1,
  store,
  transport,
  stateMachine,
  onFatal(e) {
    throw e
  },
})
for (const command of commands) await driver.propose(Buffer.from(command))
await driver.barrier()
console.log(JSON.stringify(list))
if (how === 'create') process.kill(process.pid, 'SIGKILL') // no farewell: what was acknowledged must be there
await driver.close()
