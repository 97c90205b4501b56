import { randomUUID } from 'node:crypto'
import { isFinal } from '../../contract/index.ts'
import { type Agent, eventually, Lab } from '../cluster/lab.ts'

/** What became of one gang whose leader died so many ms after the submit was sent. */
export interface GangOutcome {
  readonly delay: number
  /** How many of its tasks had a node, as any copy of the state showed it at any look, smallest first. */
  readonly placed: readonly number[]
  /** ms from the kill until all of it was placed. */
  readonly resumed: number
  /** Who was called unreachable meanwhile, apart from the killed. */
  readonly blamed: readonly string[]
}

const SIZE = 16

/**
 * Kills the leader at `points` moments spread over the first `within` ms of a gang's submit, commit and start, each
 * time in a cluster that is whole again.
 */
export async function killDuringGangs(
  points: number,
  within: number,
  say: (line: string) => void,
): Promise<GangOutcome[]> {
  // Two of three hosts are enough for all of it.
  const lab = await Lab.start({ agents: 3, cpu: 4 })
  try {
    const outcomes: GangOutcome[] = []
    for (let at = 0; at < points; at++) {
      const outcome = await killOnce(lab, (at * within) / points)
      outcomes.push(outcome)
      say(describeGang(outcome))
    }
    return outcomes
  } finally {
    await lab.stop()
  }
}

/** What is wrong about them, in words; nothing when all is right. */
export const wrongGangs = (outcomes: readonly GangOutcome[], patience = 5000): string[] =>
  outcomes.flatMap((outcome) => {
    const partly = outcome.placed.some((count) => count !== 0 && count !== SIZE)
    const said = describeGang(outcome)
    return [
      ...(partly ? [`placed in part: ${said}`] : []),
      ...(outcome.resumed > patience ? [`placed only later than ${patience} ms: ${said}`] : []),
      ...(outcome.blamed.length > 0 ? [`called unreachable for nothing: ${said}`] : []),
    ]
  })

const describeGang = ({ delay, placed, resumed, blamed }: GangOutcome): string =>
  `leader killed ${delay.toFixed(1)} ms after the submit: placed ${placed.join(', ')} of ${SIZE}; ` +
  `all of it ${resumed.toFixed(0)} ms after the kill${blamed.length > 0 ? `; blamed ${blamed.join(', ')}` : ''}`

async function killOnce(lab: Lab, delay: number): Promise<GangOutcome> {
  const leader = await lab.leader()
  const others = lab.agents.filter((agent) => agent !== leader)
  const seen = new Set<number>()
  const name = `gang-${randomUUID().slice(0, 8)}`
  const submitted = submit(lab, name)
  await new Promise((resolve) => setTimeout(resolve, delay))
  const from = performance.now()
  const killed = leader.kill()
  await eventually('all of the gang is placed', async () => {
    for (const other of others) for (const count of await placedAt(lab, other, name)) seen.add(count)
    return seen.has(SIZE)
  })
  const resumed = performance.now() - from
  await killed
  const id = await submitted
  await leader.start()
  await lab.client().call('experiments.stop', { params: { experiment: id } })
  await lab.until(id, ({ state }) => isFinal(state))
  await lab.ready()
  const placed = [...seen].toSorted((a, b) => a - b)
  return { delay, placed, resumed, blamed: await blamed(lab, leader) }
}

/** The same key each time: a submit that the dead leader took is not made twice. */
async function submit(lab: Lab, name: string): Promise<string> {
  const headers = { 'idempotency-key': name }
  for (;;) {
    try {
      const roles = { worker: { replicas: SIZE } }
      const body = { name, command: 'sleep 600', roles, resources: 'cpu=0.25, memory=16Mi', grace: 1 }
      return (await lab.submit(body, headers)).id
    } catch (error) {
      // What was on its way when the leader died is asked again; any other answer is a fault.
      if (!(error instanceof TypeError) && (error as { code?: string }).code !== 'timeout') throw error
    }
  }
}

/** As this agent's own copy has it now; nothing when it knows of no such gang yet. */
async function placedAt(lab: Lab, agent: Agent, name: string): Promise<number[]> {
  const query = { consistency: 'local', name } as const
  const { items } = await lab.client(agent).call('experiments.list', { query })
  return items.map(({ tasks }) => tasks.filter(({ node }) => node !== null).length)
}

async function blamed(lab: Lab, killed: Agent): Promise<string[]> {
  const { items } = await lab.client().call('events.list', { query: { page_size: 200 } })
  const subjects = items.filter(({ code }) => code === 'node.unreachable').map(({ subject }) => subject.id)
  return [...new Set(subjects)].filter((node) => node !== killed.node)
}
