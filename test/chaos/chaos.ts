import { setTimeout as delay } from 'node:timers/promises'
import { Rng } from '../../raft/testing/rng.ts'
import { checkLinearizable } from '../history/check.ts'
import { checkCopies, checkEdits } from './after.ts'
import { type Fault, faults } from './faults.ts'
import type { Fleet } from './fleet.ts'
import { Tally } from './outcome.ts'
import { Registers } from './registers.ts'
import { Runners } from './runners.ts'
import { Submissions } from './submissions.ts'

export interface ChaosOptions {
  readonly agents: 3 | 5
  readonly seed: number
  /** How long faults go on; without it, every kind comes once. */
  readonly seconds?: number
  readonly clients?: number
  readonly say: (line: string) => void
}

export interface ChaosReport {
  readonly verdict: 'ok' | 'violation' | 'unknown'
  readonly faults: ReadonlyMap<string, number>
  readonly tally: Tally
  readonly elections: number
  readonly starts: number
  readonly operations: number
  readonly acknowledged: { readonly edits: number; readonly submissions: number }
  readonly seconds: number
  /** What went wrong, for people. */
  readonly wrong: readonly string[]
  readonly history: readonly unknown[]
}

/** Everything that runs beside the faults, and what it saw. */
interface Load {
  readonly tally: Tally
  readonly registers: Registers
  readonly submissions: Submissions
  readonly runners: Runners
}

interface Span {
  readonly least: number
  readonly most: number
}
/** How long a fault lasts, and how long there is none, in the long form and in the short one. */
const long = { hold: { least: 2000, most: 9000 }, rest: { least: 500, most: 4000 } }
const short = { hold: { least: 1500, most: 4000 }, rest: { least: 500, most: 1500 } }

/** A real cluster under load and under faults, then without faults; and whether all that clients saw fits together. */
export async function runChaos(fleet: Fleet, options: ChaosOptions): Promise<ChaosReport> {
  const began = performance.now()
  const tally = new Tally()
  const load: Load = {
    tally,
    registers: await Registers.make(fleet, 6, tally),
    submissions: new Submissions(tally),
    runners: await Runners.start(fleet),
  }
  const firstTerm = await newestTerm(fleet)
  const done = new AbortController()
  const clients = startLoad(fleet, load, options, done.signal)
  const counts = await inflict(fleet, options).finally(() => done.abort())
  await clients
  options.say('no more faults; waiting for every agent')
  const seconds = (performance.now() - began) / 1000
  const wrong = await afterwards(fleet, load).catch((error: unknown) => [String(error)])
  const elections = (await newestTerm(fleet)) - firstTerm
  const history = load.registers.history.operations()
  const checked = checkLinearizable(history, load.registers.model())
  if (checked.report) wrong.push(checked.report)
  return {
    verdict: wrong.length > (checked.verdict === 'unknown' ? 1 : 0) ? 'violation' : checked.verdict,
    faults: counts,
    tally,
    elections,
    starts: fleet.agents.reduce((sum, { starts }) => sum + starts, 0),
    operations: history.length,
    acknowledged: {
      edits: [...load.registers.edits.values()].reduce((sum, { acknowledged }) => sum + acknowledged, 0),
      submissions: load.submissions.acknowledged,
    },
    seconds,
    wrong,
    history,
  }
}

function startLoad(
  fleet: Fleet,
  { registers, submissions }: Load,
  { seed, clients = 8 }: ChaosOptions,
  signal: AbortSignal,
): Promise<unknown> {
  const writers = Array.from({ length: clients }, (_, at) =>
    registers.run(fleet, `c${at + 1}`, new Rng(seed, 100 + at), signal),
  )
  return Promise.all([...writers, submissions.run(fleet, new Rng(seed, 99), signal)])
}

/** One fault after the other in an order drawn from the seed, every kind before any comes again; now and then two at once. */
async function inflict(fleet: Fleet, { seed, seconds, say }: ChaosOptions): Promise<Map<string, number>> {
  const rng = new Rng(seed, 1)
  const began = performance.now()
  const clock = () => `${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s`
  const counts = new Map<string, number>()
  const begin = async (kind: string): Promise<Fault> => {
    const fault = await (faults[kind] as (typeof faults)[string])(fleet, rng)
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
    say(`${clock()}  ${kind}: ${fault.what}`)
    return fault
  }
  const { hold, rest } = seconds === undefined ? short : long
  const between = ({ least, most }: Span) => delay(least + rng.int(most - least))
  const isOver = () => seconds !== undefined && performance.now() - began > seconds * 1000
  let bag: string[] = []
  do {
    if (!bag.length) bag = Object.keys(faults)
    const take = () => bag.splice(rng.int(bag.length), 1)[0] as string
    const active = [await begin(take())]
    if (bag.length && rng.chance(0.25)) {
      await between(rest)
      // With everybody down, or no majority together, there is nobody to aim at.
      if (await fleet.leader(5).catch(() => undefined)) active.push(await begin(take()))
    }
    await between(hold)
    for (const fault of active) await fault.undo()
    await between(rest)
  } while (seconds === undefined ? bag.length : !isOver())
  return counts
}

/** With all faults gone: everybody is back, and holds the same; nothing acknowledged is lost, nothing ran twice. */
async function afterwards(fleet: Fleet, { registers, submissions, runners }: Load): Promise<string[]> {
  await fleet.ready()
  const wrong = fleet.agents.flatMap(({ surprises }) => surprises)
  for (const agent of fleet.agents)
    for (const key of registers.keys)
      if (!(await registers.read(fleet.client(agent), `last-${agent.name}`, key)))
        wrong.push(`${agent.name} does not answer the last read of ${key}`)
  const client = fleet.client(await fleet.leader())
  wrong.push(...(await submissions.faults(client)))
  wrong.push(...(await runners.faults(fleet)))
  wrong.push(...(await checkEdits(client, registers)))
  wrong.push(...(await checkCopies(fleet)))
  return wrong
}

async function newestTerm(fleet: Fleet): Promise<number> {
  return Math.max(0, ...(await fleet.views()).map(({ cluster }) => cluster.term))
}
