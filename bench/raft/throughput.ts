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

interface Measurement {
  readonly op: Plan['op']
  readonly outstanding: number
  readonly ours: readonly Round[]
  readonly etcd: readonly Round[]
}

/** Both leaders get the same load in turns, so that what else the machine does falls on both. */
export async function throughputRows(s: Sides): Promise<Row[]> {
  const all: Measurement[] = []
  for (const op of ['write', 'read'] as const)
    for (const shape of shapes)
      if (op === 'write' || shape.outstanding !== 100)
        all.push({ op, outstanding: shape.outstanding, ...(await rounds(s, op, shape)) })
  // Last: what it deletes at its end keeps etcd busy for minutes, and reads would wait for that.
  const own = s.quick ? 0 : await s.etcd.checkPerf()
  const busiest = all.find((m) => m.op === 'write' && m.outstanding === 1000)
  const micros = (rounds: readonly Round[] = []) => rounds.map((r) => r.cpuMicros)
  return [
    ...all.flatMap((m) => rowsOf(m, m === busiest ? own : 0)),
    row("leader's processor time for a write, 1000 outstanding", 'µs', micros(busiest?.ours), micros(busiest?.etcd), true), // prettier-ignore
  ]
}

/** The comparison is with the better of what our client and etcd's own tool get out of it. */
function rowsOf(m: Measurement, own: number): Row[] {
  const name = `${m.op === 'write' ? 'write' : 'linearizable read'} ${m.outstanding} outstanding`
  const of = (rounds: readonly Round[], what: 'perSecond' | 'p50' | 'p99') => rounds.map((r) => r.load[what])
  const peer = of(m.etcd, 'perSecond')
  return [
    row(name, `${m.op}s/s`, of(m.ours, 'perSecond'), own > median(peer) ? peer.map(() => own) : peer),
    row(`${name}, p50`, 'ms', of(m.ours, 'p50'), of(m.etcd, 'p50'), true),
    row(`${name}, p99`, 'ms', of(m.ours, 'p99'), of(m.etcd, 'p99'), true),
  ]
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
