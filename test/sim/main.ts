import { availableParallelism } from 'node:os'
import { misused, readArguments } from '../setup/arguments.ts'
import { huntMutations } from './hunt.ts'
import { runSeeds } from './pool.ts'
import { runSeed } from './run.ts'
import { Summary, reproduce } from './summary.ts'

const USAGE = `npm run sim -- --seeds N [--from S] [--workers W]   N seeds
npm run sim -- --seed S [--trace]                   one seed again, with every event
npm run sim -- --mutations [NAME…] [--seeds N]      known bugs, each simulated until a seed shows it`

const { values, positionals } = readArguments(USAGE, {
  seeds: { type: 'string' },
  from: { type: 'string', default: '1' },
  workers: { type: 'string', default: String(Math.min(2, availableParallelism())) },
  seed: { type: 'string' },
  trace: { type: 'boolean', default: false },
  mutations: { type: 'boolean', default: false },
})

function positive(name: 'seeds' | 'from' | 'workers' | 'seed'): number {
  const n = Number(values[name])
  if (Number.isSafeInteger(n) && n > 0) return n
  return misused(`--${name} takes a positive integer, not ${values[name]}.`, USAGE)
}

async function one(seed: number): Promise<boolean> {
  const trace = values.trace ? (line: string) => console.log(line) : undefined
  const started = performance.now()
  const result = await runSeed(seed, { ...(trace && { trace }), hash: true })
  const summary = new Summary()
  summary.add(result)
  console.log(summary.describe())
  console.log(`trace ${result.traceHash}, ${((performance.now() - started) / 1000).toFixed(2)} s`)
  if (result.violation !== undefined) console.log(`seed ${seed}, ${result.violation}`)
  return result.violation === undefined
}

async function many(count: number): Promise<boolean> {
  const from = positive('from')
  const seeds = Array.from({ length: count }, (_, i) => from + i)
  const summary = new Summary()
  const started = performance.now()
  await runSeeds(seeds, {
    workers: positive('workers'),
    onResult: (r) => {
      summary.add(r)
      if (r.violation !== undefined) console.log(`seed ${r.seed}, ${r.violation}\n  ${reproduce(r.seed)}`)
      if (summary.seeds % 200 === 0) console.log(summary.line())
      return false
    },
  })
  console.log(summary.describe())
  console.log(`${((performance.now() - started) / 1000).toFixed(1)} s`)
  return summary.failed.length === 0
}

async function mutations(): Promise<boolean> {
  const seeds = values.seeds === undefined ? 500 : positive('seeds')
  return huntMutations({ names: positionals, seeds, workers: positive('workers') })
}

function run(): Promise<boolean> {
  if (values.mutations) return mutations()
  if (values.seed !== undefined) return one(positive('seed'))
  if (values.seeds !== undefined) return many(positive('seeds'))
  return misused('Say what to run.', USAGE)
}

process.exitCode = (await run()) ? 0 : 1
