import { randomInt } from 'node:crypto'
import { misused, readArguments } from '../setup/arguments.ts'
import { needs } from '../setup/needs.ts'
import { type ChaosOptions, runChaos } from './chaos.ts'
import { Fleet } from './fleet.ts'
import { killDuringGangs, wrongGangs } from './gangs.ts'
import { describeReport, keep } from './report.ts'

const USAGE = `npm run chaos -- [--minutes 10] [--seed S] [--agents 3|5] [--out DIR]   faults for so long
npm run chaos -- --once [--seed S] [--agents 3|5]                       each kind of fault once
npm run chaos -- --gangs 100                                            the leader killed at so many points of a gang's placement`

const { values } = readArguments(USAGE, {
  minutes: { type: 'string', default: '10' },
  seed: { type: 'string' },
  agents: { type: 'string', default: '3' },
  once: { type: 'boolean', default: false },
  gangs: { type: 'string' },
  out: { type: 'string' },
})

function readOptions(): ChaosOptions {
  const agents = Number(values.agents)
  if (agents !== 3 && agents !== 5) return misused(`--agents is 3 or 5, not ${values.agents}`, USAGE)
  const minutes = Number(values.minutes)
  if (!(minutes > 0)) return misused(`--minutes is a number above 0, not ${values.minutes}`, USAGE)
  const seed = values.seed === undefined ? randomInt(1e9) : Number(values.seed)
  if (!Number.isSafeInteger(seed)) return misused(`--seed is a whole number, not ${values.seed}`, USAGE)
  const say = (line: string) => console.log(line)
  return { agents, seed, say, ...(values.once ? {} : { seconds: minutes * 60 }) }
}

if (values.gangs !== undefined) await runGangs(Number(values.gangs))
else await runFaults()

/** Over the first 60 ms, in which all of it happens on an idle machine. */
async function runGangs(points: number) {
  if (!Number.isSafeInteger(points) || points < 1)
    return misused(`--gangs is a whole number from 1 on, not ${values.gangs}`, USAGE)
  const outcomes = await killDuringGangs(points, 60, (line) => console.log(line))
  const wrong = wrongGangs(outcomes)
  const times = outcomes.map(({ resumed }) => resumed).toSorted((a, b) => a - b)
  const of = (share: number) => times[Math.floor((times.length - 1) * share)]?.toFixed(0)
  console.log(
    `\n${outcomes.length} gangs, all of it placed after ${of(0.5)} ms (median), ${of(1)} ms at most`,
  )
  console.log(wrong.length === 0 ? 'ok' : wrong.join('\n'))
  process.exitCode = wrong.length === 0 ? 0 : 1
}

async function runFaults() {
  const { meta } = needs.chaos
  if (meta) throw new Error(`chaos needs ${meta.lacking.what}: ${meta.lacking.remedy}`)
  const options = readOptions()
  const length = values.once ? '--once' : `--minutes ${values.minutes}`
  const repeat = `npm run chaos -- ${length} --seed ${options.seed} --agents ${options.agents}`
  console.log(`${repeat}\nstarting ${options.agents} agents`)
  const fleet = await Fleet.start(options.agents)
  try {
    const report = await runChaos(fleet, options)
    const text = describeReport(report)
    console.log(text)
    if (report.verdict !== 'ok') {
      console.log(`kept in ${await keep(fleet, report, values.out)}\nagain: ${repeat}`)
      process.exitCode = 1
    }
  } finally {
    await fleet.stop()
    await fleet.removeFolder()
  }
}
