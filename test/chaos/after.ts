import { isDeepStrictEqual } from 'node:util'
import type { Client } from '../../contract/index.ts'
import { eventually } from '../cluster/lab.ts'
import type { Fleet } from './fleet.ts'
import type { Registers } from './registers.ts'
import { allExperiments } from './submissions.ts'

/** Every acknowledged edit left one event, and no edit left two. */
export async function checkEdits(client: Client, registers: Registers): Promise<string[]> {
  const wrong: string[] = []
  for (const [id, { acknowledged, unknown }] of registers.edits) {
    const edits = await countEdits(client, id)
    if (edits < acknowledged) wrong.push(`${acknowledged - edits} acknowledged edits of ${id} left no event`)
    if (edits > acknowledged + unknown)
      wrong.push(`${id} was edited ${edits} times, but at most ${acknowledged + unknown} were asked for`)
  }
  return wrong
}

async function countEdits(client: Client, experiment: string): Promise<number> {
  let count = 0
  let token: string | undefined
  do {
    const query = { page_size: 1000, ...(token === undefined ? {} : { page_token: token }) }
    const page = await client.call('experiments.events', { params: { experiment }, query })
    count += page.items.filter(({ code }) => code === 'experiment.edited').length
    token = page.next_page_token ?? undefined
  } while (token !== undefined)
  return count
}

/** What each agent holds itself. They are compared when they stand at the same place of the log. */
export async function checkCopies(fleet: Fleet): Promise<string[]> {
  const copies = () => Promise.all(fleet.agents.map((agent) => allExperiments(fleet.client(agent), 'local')))
  const differing: string[] = []
  await eventually(
    'every agent holds the same',
    async () => {
      const [first, ...others] = await copies()
      differing.splice(0)
      for (const [at, other] of others.entries())
        if (!isDeepStrictEqual(other, first)) differing.push(fleet.agents[at + 1]?.name ?? '')
      return differing.length === 0
    },
    30,
  ).catch(() => undefined)
  return differing.map((name) => `${name} holds other experiments than ${fleet.agents[0]?.name}`)
}
