import { expect, it } from 'vitest'
import type { RaftDriver, Status } from '../../raft/index.ts'
import type { Peers } from './cluster.ts'
import { Member } from './member.ts'
import type { ClusterStateMachine } from './state-machine.ts'

/** A member whose raft never answers; `lead` says who leads, `asked` what it was asked for. */
function member() {
  let now = 0
  let tell: (status: Status) => void = () => {}
  const asked: (number | undefined)[] = []
  const status = (leader: number) =>
    ({ role: 'follower', leader, conf: { voters: [1, 2, 3] } }) as unknown as Status
  let last = status(0)
  const wait = (timeoutMs: number | undefined) => {
    asked.push(timeoutMs)
    return new Promise(() => {})
  }
  const raft = {
    status: () => last,
    onChange: (f: typeof tell) => (tell = f),
    propose: (_data: Uint8Array, o?: { timeoutMs?: number }) => wait(o?.timeoutMs),
    barrier: (o?: { timeoutMs?: number }) => wait(o?.timeoutMs),
  }
  const made = new Member(1, raft as unknown as RaftDriver, {} as ClusterStateMachine, {} as Peers, () => now)
  const lead = (leader: number) => tell((last = status(leader)))
  return { made, asked, lead, pass: (ms: number) => (now += ms) }
}

const command = { type: 'token.delete', sha256: 's' } as const
const system = { kind: 'system' } as const

it('waits out an election, and answers no_leader at once when there is none for long', async () => {
  const { made, asked, lead, pass } = member()
  void made.propose(command, system)
  void made.barrier()
  expect(asked).toEqual([5_000, 3_000])
  lead(2)
  pass(60_000)
  void made.propose(command, system)
  void made.barrier()
  expect(asked.slice(2)).toEqual([10_000, 5_000])
  lead(0)
  pass(12_000)
  for (const refused of [made.propose(command, system), made.barrier()])
    await expect(refused).rejects.toMatchObject({
      code: 'no_leader',
      message: 'no leader for 12s: 2 of the 3 voters must reach each other',
    })
  expect(asked).toHaveLength(4)
  // Who chose how long to wait, waits.
  void made.propose(command, system, { timeoutMs: 60_000 })
  expect(asked.at(-1)).toBe(60_000)
})
