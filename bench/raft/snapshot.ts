import type { Child } from '../child.ts'
import type { Measured } from '../load/meter.ts'
import { row, type Row } from '../report.ts'
import { scratchFolder } from '../scratch.ts'
import { withLoad } from '../load/process.ts'
import { MemberProcesses, until } from './members.ts'

const KEYS = 100_000
/** Writes a second meanwhile. */
const RATE = 200

/** A member joins a cluster that holds 100,000 keys: the leader takes a snapshot, sends it, the new one installs it. */
export async function snapshotRows(quick: boolean): Promise<Row[]> {
  const seconds: number[] = []
  const pause: number[] = []
  const elections: number[] = []
  for (let i = 0; i < (quick ? 1 : 5); i++) {
    const scratch = await scratchFolder()
    const members = await MemberProcesses.start({ dir: scratch.dir })
    try {
      const t = await withLoad((load) => trial(members, load))
      seconds.push(t.seconds)
      pause.push(t.pause)
      elections.push(t.elections)
    } finally {
      await members.stop()
      await scratch.remove()
    }
  }
  return [
    row('100,000-key snapshot + install', 's', seconds, [], true),
    row('event-loop pause during it, p99', 'ms', pause, [], true),
    row('elections during it', '', elections, [], true),
  ]
}

async function trial(
  members: MemberProcesses,
  load: Child,
): Promise<{ seconds: number; pause: number; elections: number }> {
  const leader = await members.leader()
  await fill(members, leader, load)
  const target = { kind: 'ours', address: members.config(leader).client }
  await load.ask('stream', { targets: [target], perSecond: RATE, keys: KEYS })
  const joiner = Math.max(...members.ids) + 1
  await members.run(joiner)
  const before = await members.allStats()
  await Promise.all(members.ids.map((id) => members.child(id).ask('watchLoop')))
  const start = performance.now()
  await members.child(leader).ask('changeMembers', [{ type: 'learner', id: joiner }])
  const { commit } = await members.stats(leader)
  await until(
    'the new member has everything',
    async () => (await members.stats(joiner)).applied >= commit,
    60_000,
  )
  const seconds = (performance.now() - start) / 1000
  const after = await members.allStats()
  await load.ask('endStream')
  const { keys } = await members.stats(joiner)
  if (keys < KEYS) throw new Error(`the new member has ${keys} of ${KEYS} keys`)
  const term = (all: readonly { term: number }[]) => Math.max(...all.map((m) => m.term))
  return {
    seconds,
    pause: Math.max(...after.map((m) => m.loopDelay.p99)),
    elections: term(after) - term(before),
  }
}

async function fill(members: MemberProcesses, leader: number, load: Child): Promise<void> {
  const target = { kind: 'ours', address: members.config(leader).client }
  await until(
    'all keys are written',
    async () => {
      const plan = {
        target,
        op: 'write',
        connections: 20,
        outstanding: 20,
        seconds: 2,
        warmSeconds: 0,
        keys: KEYS,
      }
      await load.ask<Measured>('run', plan)
      return (await members.stats(leader)).keys >= KEYS
    },
    120_000,
  )
}
