import type { Plan } from '../load/main.ts'
import { median, type Measured } from '../load/meter.ts'
import { row, type Row } from '../report.ts'
import type { Sides } from './compare.ts'

interface Shape {
  readonly outstanding: number
  readonly connections: number
  readonly each: number
}

const shapes: readonly Shape[] = [
  { outstanding: 1, connections: 1, each: 1 },
  { outstanding: 100, connections: 100, each: 1 },
  { outstanding: 1000, connections: 100, each: 10 },
]

const KEYS = 100_000

interface Round {
  readonly load: Measured
  /** Of the leader's processor, for each request. */
  readonly cpuMicros: number
}

/** Both leaders get the same load in turns, so that what else the machine does falls on both. */
export async function throughputRows(s: Sides): Promise<Row[]> {
  const rows: Row[] = []
  const micros: { ours: number[]; etcd: number[] } = { ours: [], etcd: [] }
  for (const op of ['write', 'read'] as const)
    for (const shape of shapes) {
      if (op === 'read' && shape.outstanding === 100) continue
      const { ours, etcd } = await rounds(s, op, shape)
      const name = `${op === 'write' ? 'write' : 'linearizable read'} ${shape.outstanding} outstanding`
      const peer = etcd.map((r) => r.load.perSecond)
      if (op === 'write' && shape.outstanding === 1000) {
        micros.ours = ours.map((r) => r.cpuMicros)
        micros.etcd = etcd.map((r) => r.cpuMicros)
        if (!s.quick) keepBetter(peer, await s.etcd.checkPerf())
      }
      rows.push(row(name, `${op}s/s`, ours.map((r) => r.load.perSecond), peer)) // prettier-ignore
      rows.push(row(`${name}, p50`, 'ms', ours.map((r) => r.load.p50), etcd.map((r) => r.load.p50), true)) // prettier-ignore
      rows.push(row(`${name}, p99`, 'ms', ours.map((r) => r.load.p99), etcd.map((r) => r.load.p99), true)) // prettier-ignore
    }
  rows.push(
    row("leader's processor time for a write, 1000 outstanding", 'µs', micros.ours, micros.etcd, true),
  )
  return rows
}

/** The comparison is with the better of what our client and etcd's own tool get out of it. */
function keepBetter(peer: number[], own: number): void {
  if (own <= median(peer)) return
  peer.fill(own)
}

async function rounds(s: Sides, op: Plan['op'], shape: Shape): Promise<{ ours: Round[]; etcd: Round[] }> {
  const ours: Round[] = []
  const etcd: Round[] = []
  for (let i = 0; i < (s.quick ? 1 : 5); i++) {
    ours.push(await round(s, 'ours', op, shape))
    etcd.push(await round(s, 'etcd', op, shape))
  }
  return { ours, etcd }
}

async function round(s: Sides, kind: 'ours' | 'etcd', op: Plan['op'], shape: Shape): Promise<Round> {
  const leader = await s[kind].leader()
  const cpu = () =>
    kind === 'ours' ? s.ours.stats(leader).then((m) => m.cpuMicros) : s.etcd.cpuMicros(leader)
  const address = kind === 'ours' ? s.ours.config(leader).client : s.etcd.address(leader)
  const plan: Plan = {
    target: { kind, address },
    op,
    connections: shape.connections,
    outstanding: shape.each,
    seconds: s.quick ? 0.5 : 4,
    warmSeconds: s.quick ? 0.3 : 1,
    keys: KEYS,
  }
  const before = await cpu()
  const load = await s.load.ask<Measured>('run', plan)
  const used = (await cpu()) - before
  if (load.errors > 0) console.error(`${kind}, ${op}s: ${load.errors} errors, the first: ${load.firstError}`)
  if (load.count === 0) throw new Error(`${kind} answered no ${op}: ${load.firstError ?? 'too slow'}`)
  // The warm-up's requests used the processor too.
  const requests = load.count * ((plan.seconds + plan.warmSeconds) / plan.seconds)
  return { load, cpuMicros: used / requests }
}
