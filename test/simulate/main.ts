import { readFile } from 'node:fs/promises'
import { misused, readArguments } from '../setup/arguments.ts'
import { generate, hostsFor, type Job, usualMix } from './jobs.ts'
import type { HostSpec } from './lab.ts'
import { type Figures, sizes } from './meter.ts'
import { fifo, firstFit, planner } from './policies.ts'
import { Simulation } from './simulation.ts'
import { readHosts, readTrace, TraceError } from './trace.ts'

const usage = `Usage: npm run simulate -- --trace FILE.csv --nodes FILE.csv [--weights bio=1,nlp=2]
       npm run simulate -- --generate [--seed 1] [--days 7] [--gpus 64] [--load 0.95] [--weights …]

The columns of the files are told in docs/simulate.md.`

const { values } = readArguments(usage, {
  trace: { type: 'string' },
  nodes: { type: 'string' },
  generate: { type: 'boolean', default: false },
  seed: { type: 'string', default: '1' },
  days: { type: 'string', default: '7' },
  gpus: { type: 'string', default: '64' },
  load: { type: 'string', default: String(usualMix.load) },
  weights: { type: 'string', default: '' },
})

async function inputs(): Promise<{ hosts: HostSpec[]; jobs: Job[] }> {
  if (values.generate) {
    const [seed, days, gpus, load] = (['seed', 'days', 'gpus', 'load'] as const).map((name) => number(name))
    const mix = { ...usualMix, seed: seed ?? 1, days: days ?? 1, gpus: gpus ?? 8, load: load ?? 1 }
    return { hosts: hostsFor(mix.gpus), jobs: generate(mix) }
  }
  if (!values.trace || !values.nodes) return misused('Give --trace and --nodes, or --generate.', usage)
  try {
    const hosts = readHosts(await readFile(values.nodes, 'utf8'))
    return { hosts, jobs: readTrace(await readFile(values.trace, 'utf8')) }
  } catch (error) {
    if (error instanceof TraceError || (error instanceof Error && 'code' in error))
      return misused(error.message, usage)
    throw error
  }
}

function number(name: 'seed' | 'days' | 'gpus' | 'load'): number {
  const value = Number(values[name])
  if (!(value > 0)) misused(`--${name} takes a number above 0, not ${values[name]}`, usage)
  return value
}

function weightsOf(text: string): Record<string, number> {
  const weights: Record<string, number> = {}
  for (const part of text.split(',').filter(Boolean)) {
    const [team = '', weight] = part.split('=')
    if (!(Number(weight) > 0)) misused(`--weights takes TEAM=NUMBER, not ${part}`, usage)
    weights[team] = Number(weight)
  }
  return weights
}

const hours = (seconds: number) => `${(seconds / 3600).toFixed(2)} h`
const percent = (part: number) => `${(part * 100).toFixed(1)} %`

function rows(figures: Figures): [string, string][] {
  return [
    ['utilisation of the GPUs', percent(figures.utilisation)],
    ...sizes.map((size): [string, string] => {
      const { n, mean, p95 } = figures.waits.get(size) ?? { n: 0, mean: 0, p95: 0 }
      return [`wait, ${size} (${n}): mean / p95`, `${hours(mean)} / ${hours(p95)}`]
    }),
    ['wait, all: mean', hours(figures.meanWait)],
    ['longest wait', hours(figures.longestWait)],
    ['bounded slowdown', figures.boundedSlowdown.toFixed(2)],
    ['fairness error', percent(figures.fairnessError)],
    ['fairness index (Jain)', figures.jain.toFixed(3)],
    ['fragmentation of free GPUs', percent(figures.fragmentation)],
    ['idle GPUs while work waited', percent(figures.idleWhileWaiting)],
    ['preempted GPU-hours', figures.preemptedGpuHours.toFixed(1)],
    ['decisions a second', figures.decisionsPerSecond.toFixed(0)],
    ['not finished', String(figures.unfinished)],
  ]
}

const { hosts, jobs } = await inputs()
const weights = weightsOf(values.weights)
const gpus = hosts.reduce((sum, host) => sum + host.gpus, 0)
console.log(`${jobs.length} jobs on ${hosts.length} nodes with ${gpus} GPUs`)
const columns = Object.entries({ planner, FIFO: fifo, 'first fit': firstFit }).map(([name, policy]) => ({
  name,
  rows: rows(new Simulation({ hosts, jobs, policy, weights }).run().figures(weights)),
}))
const lines = [
  ['', ...columns.map(({ name }) => name)],
  ...(columns[0]?.rows ?? []).map(([title], at) => [
    title,
    ...columns.map((column) => column.rows[at]?.[1] ?? ''),
  ]),
]
const widths = lines[0]?.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0))) ?? []
for (const line of lines)
  console.log(
    line.map((cell, at) => (at ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0))).join('  '),
  )
