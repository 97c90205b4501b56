import { writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import type { Child } from './child.ts'
import { median, type Measured } from './load/meter.ts'
import { withLoad } from './load/process.ts'
import type { MemberStats } from './raft/member.ts'
import { MemberProcesses } from './raft/members.ts'
import { scratchFolder } from './scratch.ts'

export interface SoakOptions {
  readonly minutes: number
  readonly rate: number
  /** Of one sample. */
  readonly sampleSeconds: number
  readonly json?: string
}

export interface Sample {
  readonly minute: number
  readonly load: Measured & { underWay: number }
  readonly members: readonly MemberStats[]
  /** 1-minute load average of the machine. */
  readonly machineLoad: number
}

export interface SoakVerdict {
  readonly ok: boolean
  /** Changes of term since the start: elections, whoever won. */
  readonly elections: number
  readonly errors: number
  /** MiB per hour of the fastest growing member in the last third; a straight line through its samples. */
  readonly rssSlope: number
  readonly rssMax: number
  readonly logEntriesMax: number
  readonly logBytesMax: number
  readonly snapshots: number
  readonly writesPerSecond: number
  readonly machineLoad: number
  readonly why: readonly string[]
}

/** More growth than this is a leak, less is the heap's breathing. */
const MAX_SLOPE = 32
/** Twice the snapshot threshold plus what is kept before one, and what is written while one is made. */
const MAX_LOG_ENTRIES = 40_000

/** Writes at a steady rate for a long time: memory stays flat, the log short, the leader in office. */
export async function soak(o: SoakOptions): Promise<SoakVerdict> {
  const scratch = await scratchFolder()
  const members = await MemberProcesses.start({ dir: scratch.dir })
  try {
    const samples: Sample[] = []
    const [first] = await members.allStats()
    await withLoad(async (load) => {
      const targets = members.ids.map((id) => ({ kind: 'ours', address: members.config(id).client }))
      await load.ask('stream', { targets, perSecond: o.rate, keys: 10_000 })
      const count = Math.max(1, Math.round((o.minutes * 60) / o.sampleSeconds))
      for (let n = 1; n <= count; n++) {
        await new Promise((resolve) => setTimeout(resolve, o.sampleSeconds * 1000))
        const sample = await take(members, load, (n * o.sampleSeconds) / 60)
        samples.push(sample)
        console.log(line(sample, first?.term ?? 0))
      }
    })
    const verdict = judge(samples, first?.term ?? 0, o.rate)
    if (o.json) await writeFile(o.json, JSON.stringify({ verdict, samples }, null, 2) + '\n')
    console.log(verdict.ok ? 'ok' : `not ok: ${verdict.why.join('; ')}`, verdict)
    return verdict
  } finally {
    await members.stop()
    await scratch.remove()
  }
}

async function take(members: MemberProcesses, load: Child, minute: number): Promise<Sample> {
  const lap = await load.ask<Sample['load']>('lap')
  return { minute, load: lap, members: await members.allStats(), machineLoad: loadavg()[0] ?? 0 }
}

const mib = (bytes: number) => Math.round(bytes / 1024 ** 2)
const most = (values: readonly number[]) => Math.max(0, ...values)

function line(s: Sample, firstTerm: number): string {
  const { load, members } = s
  return [
    `minute ${s.minute.toFixed(1)}:`,
    `${load.perSecond.toFixed(0)} w/s, p50 ${load.p50.toFixed(1)} ms, p99 ${load.p99.toFixed(1)} ms, ${load.errors} errors;`,
    `rss ${members.map((m) => mib(m.rss)).join('/')} MiB;`,
    `log ${most(members.map((m) => m.logEntries))} entries, ${mib(most(members.map((m) => m.logBytes)))} MiB;`,
    `snapshots ${most(members.map((m) => m.metrics['snapshotsTaken'] ?? 0))};`,
    `elections ${most(members.map((m) => m.term)) - firstTerm}; load ${s.machineLoad.toFixed(1)}`,
  ].join(' ')
}

export function judge(samples: readonly Sample[], firstTerm: number, rate: number): SoakVerdict {
  const all = samples.flatMap((s) => s.members)
  // A stall of seconds piles up requests, and the heap stays at the mark they reached; a leak goes on to the end.
  const settled = samples.slice(Math.floor((samples.length * 2) / 3))
  const ids = [...new Set(all.map((m) => m.id))]
  const slopes = ids.map((id) =>
    slope(settled.map((s) => [s.minute / 60, mib(s.members.find((m) => m.id === id)?.rss ?? 0)] as const)),
  )
  const elections = most(all.map((m) => m.term)) - firstTerm
  const errors = samples.reduce((n, s) => n + s.load.errors, 0)
  const rssSlope = samples.length >= 10 ? Math.round(Math.max(...slopes) * 10) / 10 : 0
  const logEntriesMax = most(all.map((m) => m.logEntries))
  const writesPerSecond = Math.round(median(samples.map((s) => s.load.perSecond)))
  const why = [
    ...(elections > 0 ? [`${elections} elections`] : []),
    ...(errors > 0
      ? [`${errors} errors, the first: ${samples.find((s) => s.load.firstError)?.load.firstError}`]
      : []),
    ...(rssSlope > MAX_SLOPE ? [`memory grows by ${rssSlope} MiB an hour`] : []),
    ...(logEntriesMax > MAX_LOG_ENTRIES ? [`the log grew to ${logEntriesMax} entries`] : []),
    ...(writesPerSecond < rate * 0.95 ? [`only ${writesPerSecond} writes/s were done`] : []),
  ]
  return {
    ok: why.length === 0,
    elections,
    errors,
    rssSlope,
    rssMax: mib(most(all.map((m) => m.rss))),
    logEntriesMax,
    logBytesMax: most(all.map((m) => m.logBytes)),
    snapshots: most(all.map((m) => m.metrics['snapshotsTaken'] ?? 0)),
    writesPerSecond,
    machineLoad: Math.round(median(samples.map((s) => s.machineLoad)) * 10) / 10,
    why,
  }
}

/** Of the straight line with the smallest squared distances. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const n = points.length
  const mx = points.reduce((s, [x]) => s + x, 0) / n
  const my = points.reduce((s, [, y]) => s + y, 0) / n
  const over = points.reduce((s, [x, y]) => s + (x - mx) * (y - my), 0)
  const under = points.reduce((s, [x]) => s + (x - mx) ** 2, 0)
  return under === 0 ? 0 : over / under
}
