import { startLan, type Host } from '../../test/docker/lan.ts'
import type { Child } from '../child.ts'
import { EtcdProcesses } from '../etcd/cluster.ts'
import type { Target } from '../load/main.ts'
import { row, type Row } from '../report.ts'
import { scratchFolder } from '../scratch.ts'
import { withLoad } from '../load/process.ts'
import type { Sides } from './compare.ts'
import { MemberProcesses } from './members.ts'

/** One side of the comparison, for a trial. */
interface Cluster {
  leader(): Promise<number>
  readonly ids: number[]
  target(id: number): Target
  /** Takes the leader away, and brings it back. */
  lose(id: number): Promise<void>
  restore(id: number): Promise<void>
}

const TIMEOUT_MS = 15_000

/** From the loss of the leader until a write that was sent after it is acknowledged by a survivor. */
export async function failoverRows(s: Sides | { quick: boolean }, how: 'killed' | 'cut off'): Promise<Row[]> {
  const name = `leader ${how}: next write`
  const measure = async (load: Child, sides: { ours: Cluster; etcd: Cluster }) => {
    const ours: number[] = []
    const etcd: number[] = []
    for (let i = 0; i < (s.quick ? 1 : 9); i++) {
      ours.push(await trial(load, sides.ours))
      etcd.push(await trial(load, sides.etcd))
    }
    return [row(name, 'ms', ours, etcd, true)]
  }
  if ('load' in s) return measure(s.load, { ours: ourCluster(s.ours), etcd: etcdCluster(s.etcd) })
  return withLan(measure)
}

async function trial(load: Child, c: Cluster): Promise<number> {
  const leader = await c.leader()
  const targets = c.ids.filter((id) => id !== leader).map((id) => c.target(id))
  await load.ask('stream', { targets, perSecond: 200, keys: 1000 })
  await load.ask('firstWrite', TIMEOUT_MS)
  // Between a heartbeat and the next at random.
  await new Promise((resolve) => setTimeout(resolve, 300 + (performance.now() % 100)))
  const start = performance.now()
  await c.lose(leader)
  await load.ask('mark')
  const losing = performance.now() - start
  const next = await load.ask<number | undefined>('firstAfterMark', TIMEOUT_MS)
  await load.ask('endStream')
  await c.restore(leader)
  await c.leader()
  if (next === undefined) throw new Error(`no write in ${TIMEOUT_MS} ms after the leader was lost`)
  return losing + next
}

function ourCluster(ours: MemberProcesses, hosts?: readonly Host[]): Cluster {
  return {
    leader: () => ours.leader(),
    get ids() {
      return ours.ids
    },
    target: (id) => ({ kind: 'ours', address: ours.config(id).client }),
    ...(hosts ? cables(hosts) : { lose: (id) => ours.child(id).kill(), restore: (id) => ours.run(id) }),
  }
}

function etcdCluster(etcd: EtcdProcesses, hosts?: readonly Host[]): Cluster {
  return {
    leader: () => etcd.leader(),
    ids: etcd.ids,
    target: (id) => ({ kind: 'etcd', address: etcd.address(id) }),
    ...(hosts ? cables(hosts) : { lose: (id) => etcd.kill(id), restore: async (id) => etcd.run(id) }),
  }
}

const cables = (hosts: readonly Host[]): Pick<Cluster, 'lose' | 'restore'> => ({
  lose: async (id) => hosts[id - 1]?.unplug(),
  restore: async (id) => hosts[id - 1]?.plug(),
})

/** Three hosts with a member of each side, in network namespaces. */
async function withLan(
  f: (load: Child, sides: { ours: Cluster; etcd: Cluster }) => Promise<Row[]>,
): Promise<Row[]> {
  const lan = await startLan(3)
  const scratch = await scratchFolder()
  const stops: (() => Promise<void>)[] = [() => lan.stop(), () => scratch.remove()]
  try {
    const places = lan.hosts.map((h) => ({ host: h.address, inside: (line: string[]) => h.command(line) }))
    const ours = await MemberProcesses.start({ dir: scratch.dir, places })
    stops.unshift(() => ours.stop())
    const etcd = await EtcdProcesses.start(scratch.dir, places)
    stops.unshift(() => etcd.stop())
    return await withLoad((load) =>
      f(load, { ours: ourCluster(ours, lan.hosts), etcd: etcdCluster(etcd, lan.hosts) }),
    )
  } finally {
    for (const stop of stops) await stop()
  }
}
