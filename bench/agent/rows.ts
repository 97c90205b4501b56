import { Lab } from '../../test/cluster/lab.ts'
import type { Child } from '../child.ts'
import type { Target } from '../load/main.ts'
import type { Measured } from '../load/meter.ts'
import { withLoad } from '../load/process.ts'
import { MemberProcesses } from '../raft/members.ts'
import { row, type Row } from '../report.ts'
import { scratchFolder } from '../scratch.ts'

/** Three real agents beside three bare members: HTTPS, session, rules, state machine and events are the difference. */
export async function agentRows(quick: boolean): Promise<Row[]> {
  const scratch = await scratchFolder()
  const stops: (() => Promise<void>)[] = [() => scratch.remove()]
  try {
    const lab = await Lab.start({ folder: `${scratch.dir}/lab` })
    stops.unshift(() => lab.stop())
    const members = await MemberProcesses.start({ dir: scratch.dir })
    stops.unshift(() => members.stop())
    const agent = await agentTarget(lab)
    const leader = await members.leader()
    const bare: Target = { kind: 'ours', address: members.config(leader).client }
    return await withLoad((load) => measure(load, quick, agent, bare))
  } finally {
    for (const stop of stops) await stop()
  }
}

/** The leader's HTTPS port, and an experiment that has ended, so that nothing else happens to it. */
async function agentTarget(lab: Lab): Promise<Target> {
  const { id } = await lab.submit({
    name: 'edited',
    command: 'true',
    resources: 'cpu=1, memory=64Mi',
  })
  await lab.ended(id)
  const leader = await lab.leader()
  return {
    kind: 'agent',
    address: { host: '127.0.0.1', port: leader.tls },
    access: { token: lab.token, experiment: id },
  }
}

async function measure(load: Child, quick: boolean, agent: Target, bare: Target): Promise<Row[]> {
  const rows: Row[] = []
  for (const outstanding of [1, 100]) {
    const through: Measured[] = []
    const direct: Measured[] = []
    for (let i = 0; i < (quick ? 1 : 5); i++) {
      through.push(await round(load, quick, agent, outstanding))
      direct.push(await round(load, quick, bare, outstanding))
    }
    const name = `write through the whole agent, ${outstanding} outstanding`
    const added = through.map((m, i) => m.p50 - (direct[i]?.p50 ?? 0))
    rows.push(row(name, 'writes/s', through.map((m) => m.perSecond), [])) // prettier-ignore
    rows.push(row(`${name}, p50`, 'ms', through.map((m) => m.p50), [], true)) // prettier-ignore
    rows.push(row(`${name}, p50 over bare raft`, 'ms', added, [], true))
  }
  return rows
}

async function round(load: Child, quick: boolean, target: Target, outstanding: number): Promise<Measured> {
  const plan = { target, op: 'write', connections: outstanding, outstanding: 1, seconds: quick ? 0.5 : 4, warmSeconds: quick ? 0.3 : 1, keys: 1000 } // prettier-ignore
  const m = await load.ask<Measured>('run', plan)
  if (m.count === 0) throw new Error(`no write through ${target.kind}: ${m.firstError ?? 'too slow'}`)
  if (m.errors > 0) console.error(`${target.kind}: ${m.errors} errors, the first: ${m.firstError}`)
  return m
}
