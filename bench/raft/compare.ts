import { agentRows } from '../agent/rows.ts'
import type { Child } from '../child.ts'
import { EtcdProcesses } from '../etcd/cluster.ts'
import { withLoad } from '../load/process.ts'
import type { Row } from '../report.ts'
import { scratchFolder } from '../scratch.ts'
import { failoverRows } from './failover.ts'
import { MemberProcesses } from './members.ts'
import { snapshotRows } from './snapshot.ts'
import { throughputRows } from './throughput.ts'

export interface CompareOptions {
  /** One short round of everything: shows that it works, not how fast. */
  readonly quick: boolean
  /** Only parts whose name contains this. */
  readonly only?: string
}

/** A part has three members of each side to itself, on the same file system, both with fsync. */
export interface Sides {
  readonly dir: string
  readonly ours: MemberProcesses
  readonly etcd: EtcdProcesses
  readonly load: Child
  readonly quick: boolean
}

async function withSides<T>(quick: boolean, f: (s: Sides) => Promise<T>): Promise<T> {
  const scratch = await scratchFolder()
  const stops: (() => Promise<void>)[] = [() => scratch.remove()]
  try {
    const ours = await MemberProcesses.start({ dir: scratch.dir })
    stops.unshift(() => ours.stop())
    const etcd = await EtcdProcesses.start(scratch.dir)
    stops.unshift(() => etcd.stop())
    return await withLoad((load) => f({ dir: scratch.dir, ours, etcd, load, quick }))
  } finally {
    for (const stop of stops) await stop()
  }
}

export async function compare(o: CompareOptions): Promise<Row[]> {
  const parts: Record<string, () => Promise<Row[]>> = {
    throughput: () => withSides(o.quick, throughputRows),
    killed: () => withSides(o.quick, (s) => failoverRows(s, 'killed')),
    cut: () => failoverRows({ quick: o.quick }, 'cut off'),
    snapshot: () => snapshotRows(o.quick),
    agent: () => agentRows(o.quick),
  }
  const rows: Row[] = []
  for (const [name, part] of Object.entries(parts)) {
    if (o.only !== undefined && !name.includes(o.only)) continue
    console.error(`${name} …`)
    rows.push(...(await part()))
  }
  return rows
}
