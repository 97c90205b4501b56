import { beforeEach, expect, test } from 'vitest'
import { Proposals, type ProposalHost } from './proposals.ts'
import { decodeCommand } from './sessions.ts'

let now: number
let proposals: Proposals
let forwarded: Uint8Array[]
let appended: Uint8Array[]
let leader: number

/** A follower of member 2 with a session; its nth forwarded message holds its nth forwarded command. */
beforeEach(async () => {
  now = 0
  forwarded = []
  appended = []
  leader = 2
  const host: ProposalHost = {
    id: 1,
    leader: () => leader,
    append: (command) => {
      appended.push(command)
      return 'appended'
    },
    forward: (command) => forwarded.push(command),
  }
  const env = {
    now: () => now,
    random: () => 0.5,
    every: () => () => {},
    after: () => () => {},
    defer: () => {},
  }
  proposals = new Proposals(host, env, { retryMs: 100, maxBytes: 1000 })
  const first = proposals.propose(Buffer.from('first'), 1000)
  const register = decodeCommand(forwarded[0] as Uint8Array)
  if (register.kind !== 'register') throw new Error('it begins with its registration')
  proposals.onOutcome({ kind: 'registered', nonce: register.nonce, client: 1 })
  proposals.onOutcome({ kind: 'result', client: 1, seq: 1, answer: { index: 2, result: new Uint8Array(0) } })
  await first
})

/** The outcome of one command that is given a second. */
function propose(): { code: string | undefined } {
  const outcome: { code: string | undefined } = { code: undefined }
  proposals.propose(Buffer.from('x'), 1000).then(
    () => (outcome.code = 'done'),
    (e: { code: string }) => (outcome.code = e.code),
  )
  return outcome
}

/** What a member says of the message; by default the last one. */
function refuse(how: { certain: boolean; busy: boolean }, number = forwarded.length): void {
  const command = forwarded[number - 1] as Uint8Array
  proposals.onRefused({
    type: 'proposeRefused',
    from: 2,
    to: 1,
    term: 0,
    number,
    commands: [command],
    ...how,
  })
}

async function timeOut(): Promise<void> {
  now += 1000
  proposals.tick()
  await Promise.resolve()
}

const certain = { certain: true, busy: false }

test('a command that no leader took did certainly not run', async () => {
  const outcome = propose()
  refuse(certain)
  leader = 0
  await timeOut()
  expect(outcome.code).toBe('no_leader')
})

test('a refusal that is not certain leaves the outcome open', async () => {
  const outcome = propose()
  refuse({ certain: false, busy: false })
  await timeOut()
  expect(outcome.code).toBe('timeout')
})

test('a refusal says nothing of a later send', async () => {
  const outcome = propose()
  const message = forwarded.length
  refuse(certain)
  now += 20
  proposals.tick()
  expect(forwarded.length).toBe(message + 1)
  refuse({ certain: true, busy: true }, message)
  await timeOut()
  expect(outcome.code).toBe('timeout')
})

test('a refusal says nothing of what lies in the own log by now', async () => {
  const outcome = propose()
  refuse(certain)
  leader = 1
  proposals.onLeader()
  expect(appended.length).toBe(1)
  refuse({ certain: true, busy: true })
  await timeOut()
  expect(outcome.code).toBe('timeout')
})

test('after a send of unknown fate no refusal is certain', async () => {
  const outcome = propose()
  now += 200
  proposals.tick()
  refuse({ certain: true, busy: true })
  await timeOut()
  expect(outcome.code).toBe('timeout')
})

test('busy is told at once', async () => {
  const outcome = propose()
  refuse({ certain: true, busy: true })
  await Promise.resolve()
  expect(outcome.code).toBe('busy')
})
