import { setTimeout as pause } from 'node:timers/promises'
import { ProblemError } from '../../contract/index.ts'
import { median } from '../load/meter.ts'
import { type Row, row, table } from '../report.ts'
import { type Agents, startAgents, task } from './agents.ts'
import { manyBare, startBare } from './bare.ts'
import { cpuMs, openSite, residentMiB, type Site } from './site.ts'
import { formSwarm, type Swarm } from './swarm.ts'

export interface Options {
  readonly quick: boolean
  readonly only?: string
}

interface Both {
  readonly site: Site
  readonly agents: Agents
  readonly swarm: Swarm
  readonly quick: boolean
}

interface Idle {
  readonly mib: number
  readonly percent: number
}

/** Three agents and a Docker Swarm on the same three engines, sample by sample in turn. */
export async function compareStarts({ quick, only }: Options): Promise<Row[]> {
  const site = await openSite()
  let agents: Agents | undefined
  try {
    const idleMs = quick ? 5_000 : 30_000
    const daemons = () => site.places.map(({ engine }) => engine.pid)
    const before = await idleOf(daemons(), idleMs)
    const swarm = await formSwarm(site)
    const after = await idleOf(daemons(), idleMs)
    agents = await startAgents(site)
    const ours = await idleOf(agents.pids(), idleMs)
    const both: Both = { site, agents, swarm, quick }
    const rows: Row[] = idleRows(ours, before, after)
    console.error(table(rows, 'swarm'))
    for (const { name, measure } of measures)
      if (only === undefined || name.includes(only)) {
        console.error(`… ${name}`)
        const measured = await measure(both)
        console.error(table(measured, 'swarm'))
        rows.push(...measured)
      }
    return rows
  } finally {
    await agents?.stop()
    await site.stop()
  }
}

const measures: readonly { name: string; measure: (both: Both) => Promise<Row[]> }[] = [
  { name: 'submit to running', measure: submitToRunning },
  { name: '200 short tasks', measure: shortTasks },
  { name: 'leader killed', measure: leaderKilled },
  { name: 'node killed', measure: nodeKilled },
]

// --- idle ---------------------------------------------------------------------------------------------------

/** Mean of the processes: memory at the end, CPU over the time. */
async function idleOf(pids: readonly number[], ms: number): Promise<Idle[]> {
  await pause(ms)
  const from = await Promise.all(pids.map(cpuMs))
  const started = performance.now()
  await pause(ms)
  const took = performance.now() - started
  return Promise.all(
    pids.map(async (pid, at) => ({
      mib: await residentMiB(pid),
      percent: (((await cpuMs(pid)) - (from[at] ?? 0)) / took) * 100,
    })),
  )
}

/** Of the Swarm, which lives in dockerd: what dockerd takes more than before. */
function idleRows(ours: readonly Idle[], before: readonly Idle[], after: readonly Idle[]): Row[] {
  const more = (of: keyof Idle) => after.map((idle, at) => Math.max(0, idle[of] - (before[at]?.[of] ?? 0)))
  const mine = (of: keyof Idle) => ours.map((idle) => idle[of])
  return [
    row('idle memory per node', 'MiB', mine('mib'), more('mib'), true),
    row('idle cpu per node', '% of a core', mine('percent'), more('percent'), true),
  ]
}

// --- starting -----------------------------------------------------------------------------------------------

async function submitToRunning(both: Both): Promise<Row[]> {
  const { site } = both
  const [ours, theirs, bare]: number[][] = [[], [], []]
  const rounds = both.quick ? 5 : 40
  for (let round = -1; round < rounds; round++) {
    const sample = [await runOurs(both, round), await runSwarm(both, round), await runBare(site, round)]
    // The first of each warms up what the others find warm.
    if (round < 0) continue
    for (const [at, list] of [ours, theirs, bare].entries()) list?.push(sample[at] ?? NaN)
  }
  const added = (times: readonly number[] = []) => median(times) - median(bare ?? [])
  const count = { n: rounds }
  return [
    row('submit to running', 'ms', ours ?? [], theirs ?? [], true),
    { ...row('submit to running, p99', 'ms', [p99(ours)], [p99(theirs)], true), ...count },
    { ...row('added over bare docker create+start', 'ms', [added(ours)], [added(theirs)], true), ...count },
    { ...row('bare docker create+start', 'ms', bare ?? [], []), ...count },
  ]
}

const p99 = (times: readonly number[] = []) =>
  [...times].sort((a, b) => a - b)[Math.max(0, Math.ceil(times.length * 0.99) - 1)] ?? NaN

async function runOurs({ agents, site }: Both, round: number): Promise<number> {
  const sent = Date.now()
  const client = agents.client(((round % 3) + 3) % 3)
  const { id } = await client.call('experiments.create', { body: task(`one-${round}`, 'sleep 1000') })
  const started = await site.starts.when('start', id)
  await client.call('experiments.stop', { params: { experiment: id } })
  await site.starts.when('die', id)
  return started - sent
}

async function runSwarm({ swarm, site }: Both, round: number): Promise<number> {
  const name = `one-${round}`
  const at = ((round % 3) + 3) % 3
  const sent = Date.now()
  await swarm.submit(at, name, 'sleep 1000')
  const started = await site.starts.when('start', name)
  await swarm.remove(at, name)
  await site.starts.when('die', name)
  return started - sent
}

async function runBare(site: Site, round: number): Promise<number> {
  const name = `bare-${round}`
  const sent = Date.now()
  const container = await startBare(site, ((round % 3) + 3) % 3, name, 'sleep 1000')
  const started = await site.starts.when('start', name)
  await container.remove({ force: true })
  return started - sent
}

// --- many ---------------------------------------------------------------------------------------------------

async function shortTasks(both: Both): Promise<Row[]> {
  const { agents, site, swarm, quick } = both
  const count = quick ? 30 : 200
  const bareFrom = Date.now()
  await manyBare(site, 'short-bare', count)
  const bare = rate(count, bareFrom, Date.now())
  const oursFrom = Date.now()
  const ids = await submitMany(agents, count)
  const ends = await Promise.all(ids.map((id) => site.starts.when('die', id, 600_000)))
  const ours = rate(count, oursFrom, Math.max(...ends))
  const swarmFrom = Date.now()
  await swarm.submit(0, 'short', 'true', { completions: count })
  const dead = await allDead(site, 'short.', count)
  const theirs = rate(count, swarmFrom, dead)
  await swarm.remove(0, 'short')
  const name = `${count} short tasks`
  return [
    { ...row(name, 'tasks/s', [ours], [theirs]), n: count },
    { ...row(`${name}, bare engines`, 'tasks/s', [bare], []), n: count },
    { ...row(`${name}, share of the bare engines'`, '×', [ours / bare], [theirs / bare]), n: count },
  ]
}

const rate = (count: number, from: number, to: number) => count / ((to - from) / 1000)

/** Each an experiment of its own, from sixteen clients at once. */
async function submitMany(agents: Agents, count: number): Promise<string[]> {
  const ids: string[] = []
  let next = 0
  const worker = async (at: number) => {
    while (next < count) {
      const name = `short-${next++}`
      ids.push((await agents.client(at % 3).call('experiments.create', { body: task(name, 'true') })).id)
    }
  }
  await Promise.all(Array.from({ length: 16 }, (_, at) => worker(at)))
  return ids
}

async function allDead({ starts }: Site, prefix: string, count: number): Promise<number> {
  const deadline = performance.now() + 600_000
  while (starts.seen('die', prefix).length < count) {
    if (performance.now() > deadline)
      throw new Error(`${starts.seen('die', prefix).length} of ${count} ended`)
    await pause(20)
  }
  return Math.max(...starts.seen('die', prefix))
}

// --- losses -------------------------------------------------------------------------------------------------

async function leaderKilled(both: Both): Promise<Row[]> {
  const { agents, swarm, quick } = both
  const ours: number[] = []
  const theirs: number[] = []
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    const leader = await agents.leader()
    await agents.crash(leader)
    ours.push(await acceptedAfter(async () => submitAfter(agents, (leader + 1) % 3, `after-${round}`)))
    await agents.revive(leader)
    const manager = await swarm.leader()
    const engine = both.site.places[manager]?.engine
    await engine?.crash()
    const at = (manager + 1) % 3
    theirs.push(await acceptedAfter(() => swarm.submit(at, `after-${round}`, 'sleep 1000', { timeoutMs: 2_000 }))) // prettier-ignore
    await engine?.revive()
    await both.site.starts.follow(manager)
    await swarm.ready()
    await swarm.remove(at, `after-${round}`)
    await agents.ready()
  }
  return [row('leader killed: next submit accepted', 'ms', ours, theirs, true)]
}

async function submitAfter(agents: Agents, at: number, name: string): Promise<void> {
  const client = agents.client(at, 5_000)
  await client.call('experiments.create', { body: task(name, 'true') })
}

/** The next that asks is asked again at once, until it accepts. */
async function acceptedAfter(submit: () => Promise<void>): Promise<number> {
  const from = performance.now()
  for (;;) {
    try {
      await submit()
      return performance.now() - from
    } catch (error) {
      if (performance.now() - from > 120_000) throw error
      if (error instanceof ProblemError && error.code === 'invalid_spec') throw error
      await pause(20)
    }
  }
}

/** The host that runs a task loses its cable and its daemons; the leader's host first, then another. */
async function nodeKilled(both: Both): Promise<Row[]> {
  const rows: Row[] = []
  for (const which of ['leader', 'follower'] as const) {
    const ours: number[] = []
    const theirs: number[] = []
    for (let round = 0; round < (both.quick ? 1 : 3); round++) {
      ours.push(await oursElsewhere(both, which, round))
      console.error(`  ours (${which}): ${ours.at(-1)} ms`)
      theirs.push(await swarmElsewhere(both, which, round))
    }
    rows.push(row(`node killed: task running elsewhere (${which}'s node)`, 'ms', ours, theirs, true))
  }
  return rows
}

async function oursElsewhere(both: Both, which: 'leader' | 'follower', round: number): Promise<number> {
  const { agents, site } = both
  const leader = await agents.leader()
  const at = which === 'leader' ? leader : (leader + 1) % 3
  const client = agents.client(at)
  const { id } = await client.call('experiments.create', {
    body: task(`lost-${which}-${round}`, 'sleep 1000', { loss_policy: 'replace-now', affinities: [`node = host-${at + 1}`] }),
  }) // prettier-ignore
  await site.starts.when('start', id)
  const was = site.starts.placeOf(id) ?? at
  if (was !== at) throw new Error(`the task runs at host ${was + 1}, not at ${at + 1}`)
  const killed = await killPlace(both, was, true)
  const started = await movedFrom(both, id, was, killed)
  await revivePlace(both, was, true)
  const other = agents.client((was + 1) % 3)
  await other.call('experiments.stop', { params: { experiment: id } })
  return started - killed
}

async function swarmElsewhere(both: Both, which: 'leader' | 'follower', round: number): Promise<number> {
  const { swarm } = both
  const leader = await swarm.leader()
  const { name, was } = await swarmTaskAt(both, `lost-${which}-${round}`, (at) => (at === leader) === (which === 'leader')) // prettier-ignore
  const killed = await killPlace(both, was, false)
  const started = await movedFrom(both, name, was, killed)
  await revivePlace(both, was, false)
  await swarm.remove((was + 1) % 3, name)
  return started - killed
}

/** A constraint would keep the task from moving, so services are tried until one lands at the right place. */
async function swarmTaskAt({ swarm, site }: Both, prefix: string, isRight: (at: number) => boolean) {
  const wrong: string[] = []
  for (let attempt = 0; attempt < 30; attempt++) {
    const name = `${prefix}-try${attempt}`
    await swarm.submit(0, name, 'sleep 1000')
    await site.starts.when('start', name)
    const was = site.starts.placeOf(name) ?? 0
    if (isRight(was)) {
      for (const other of wrong) await swarm.remove(0, other)
      return { name, was }
    }
    wrong.push(name)
    // What holds room elsewhere makes the next one land here; no more than there is room for.
    if (wrong.length === 4) for (const other of wrong.splice(0)) await swarm.remove(0, other)
  }
  throw new Error('the Swarm placed no task where it was wanted')
}

async function killPlace({ agents, site }: Both, at: number, withAgent: boolean): Promise<number> {
  const { host, engine } = site.places[at] ?? {}
  const killed = Date.now()
  await host?.unplug()
  if (withAgent) await agents.crash(at)
  await engine?.crash()
  return killed
}

async function revivePlace({ agents, site, swarm }: Both, at: number, withAgent: boolean): Promise<void> {
  const { host, engine } = site.places[at] ?? {}
  await host?.plug()
  await engine?.revive()
  await site.starts.follow(at)
  if (withAgent) await agents.revive(at)
  await agents.ready()
  await swarm.ready()
}

/** When the engine of another place has started it. */
async function movedFrom({ site }: Both, key: string, was: number, killed: number): Promise<number> {
  const deadline = performance.now() + 180_000
  for (;;) {
    const place = site.starts.placeOf(key)
    const at = await site.starts.when('start', key)
    if (place !== undefined && place !== was && at > killed) return at
    if (performance.now() > deadline) throw new Error(`${key} did not start elsewhere within 180 s`)
    await pause(20)
  }
}
