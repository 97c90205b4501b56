import type { Client } from '../../contract/client.ts'
import type { Experiment, Task } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { UsageError } from '../failure.ts'
import { taskName } from '../output/describe.ts'

/** An experiment by id, or by name where only one has it. */
export async function findExperiment(
  client: Client,
  idOrName: string,
  query: { consistency?: 'local' } = {},
): Promise<Experiment> {
  try {
    return await client.call('experiments.get', { params: { experiment: idOrName }, query })
  } catch (error) {
    if (!(error instanceof ProblemError) || error.code !== 'not_found') throw error
  }
  // No name is longer; asking would be refused as ill-formed instead of answered.
  const named =
    idOrName.length > 63
      ? []
      : await client.call('experiments.list', { query: { name: idOrName, page_size: 10, ...query } })
  const found = Array.isArray(named) ? [] : named.items.filter((e) => e.name === idOrName)
  if (found.length === 1 && found[0]) return found[0]
  if (found.length === 0)
    throw new ProblemError('not_found', `no experiment has the id or name ${JSON.stringify(idOrName)}`, {
      hint: 'See `submarine experiment list`.',
    })
  throw new ProblemError('conflict', `${found.length} experiments are named ${JSON.stringify(idOrName)}`, {
    hint: `Give the id instead; the newest is ${found[0]?.id}.`,
  })
}

/** A task by id, `worker-0`, or its role where that has one task. */
export function findTask(experiment: Experiment, name: string): Task {
  const { tasks } = experiment
  const exact = tasks.find((t) => t.id === name || taskName(t) === name)
  const ofRole = tasks.filter((t) => t.role === name)
  const found = exact ?? (ofRole.length === 1 ? ofRole[0] : undefined)
  if (found) return found
  throw new UsageError(
    `${experiment.id} has no task ${JSON.stringify(name)}`,
    `Its tasks: ${tasks.map(taskName).join(', ')}.`,
  )
}
