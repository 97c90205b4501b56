import { TokenReader } from '../agent/services/actors.ts'
import { askedOf, mayRead } from '../agent/services/access.ts'
import { World } from '../agent/services/testing/world.ts'
import { permits } from '../contract/permission.ts'
import { Lab, password } from '../test/cluster/lab.ts'
import { type Row, row } from './report.ts'

export interface PeopleOptions {
  readonly signIns: number
  readonly people: number
  readonly teams: number
  readonly experiments: number
  readonly checks: number
}

export const usualPeople: PeopleOptions = {
  signIns: 200,
  people: 1000,
  teams: 100,
  experiments: 5000,
  checks: 200_000,
}

/** How long people wait for their sign-in, and what each request pays for knowing who asks and whether they may. */
export const people = async (options: PeopleOptions): Promise<Row[]> => [
  ...(await signInRows(options)),
  ...(await checkRows(options)),
]

/** At three whole agents: argon2id, and the token's way through the log. */
async function signInRows({ signIns }: PeopleOptions): Promise<Row[]> {
  const lab = await Lab.start()
  try {
    const client = lab.client()
    const one = () => timed(() => client.call('session.create', { body: { user: 'admin', password } }))
    for (let at = 0; at < 5; at++) await one()
    const alone: number[] = []
    for (let at = 0; at < signIns; at++) alone.push(await one())
    const together: number[] = []
    while (together.length < signIns)
      together.push(...(await Promise.all(Array.from({ length: 4 }, () => one()))))
    return [
      row('sign-in', 'ms', alone, [], true),
      row('sign-in, p99', 'ms', [p99(alone)], [], true),
      row('sign-in, 4 at once, p99', 'ms', [p99(together)], [], true),
    ]
  } finally {
    await lab.stop()
  }
}

/** In memory, by the code that a request runs. */
async function checkRows({ people, teams, experiments, checks }: PeopleOptions): Promise<Row[]> {
  const world = await World.create(1)
  try {
    for (let at = 0; at < people; at++) world.addUser(`user-${at}`)
    const memberOf = (team: number) =>
      Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`user-${(team * 10 + at) % people}`, 'member' as const])) // prettier-ignore
    for (let team = 0; team < teams; team++) world.addTeam(`team-${team}`, memberOf(team))
    for (let at = 0; at < experiments; at++)
      world.submit(`exp-${at}`, {
        owner: `user-${at % people}`,
        ...(at % 2 ? { team: `team-${Math.floor((at % people) / 10) % teams}` } : {}),
        sharing: {
          visibility: 'private',
          shares: [{ with: `user:user-${(at * 7) % people}`, level: 'run' }],
        },
      })
    // The log's clock went on with each entry.
    world.now += 24 * 3600_000
    const tokens = Array.from({ length: 100 }, (_, at) => world.signIn(`user-${at * 3}`))
    const state = world.log.state
    const rows = [...state.experiments.values()]
    const reader = new TokenReader(
      () => world.now,
      () => {},
    )
    const check = (at: number) => {
      const actor = reader.read(state, tokens[at % tokens.length] ?? '')
      const asked = rows[(at * 31) % rows.length]
      return actor && asked ? permits(actor, 'experiment:stop', askedOf(asked)) : false
    }
    for (let at = 0; at < 10_000; at++) check(at)
    const begun = performance.now()
    for (let at = 0; at < checks; at++) check(at)
    const each = ((performance.now() - begun) * 1000) / checks
    const actor = reader.read(state, tokens[0] ?? '')
    const lists = Array.from({ length: 50 }, () => {
      const from = performance.now()
      if (!actor || rows.filter((one) => mayRead(actor, one)).length === 0) throw new Error('nothing is seen')
      return performance.now() - from
    })
    return [
      row('who asks, and may they: one check', 'µs', [each], [], true),
      row(`which of ${experiments} experiments they may see`, 'ms', lists, [], true),
    ]
  } finally {
    await world.close()
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

const p99 = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0
