import { ProblemError } from '../../../contract/index.ts'
import { secretId } from '../../cluster/secret-access.ts'
import { StartFailure } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'

/** A secret of the attempt. Throws StartFailure when it may not have it; anything else when it cannot be had just now. */
export async function openedSecret(
  { task, experiment }: Pick<Attempt, 'task' | 'experiment'>,
  { secretFor }: Pick<RunnerContext, 'secretFor'>,
  name: string,
): Promise<Buffer> {
  if (!secretFor) throw new StartFailure('secret_refused', 'This node is given no secrets.')
  const asked = { task: task.id, attempt: task.attempt, id: secretId(experiment.owner, name) }
  return Buffer.from(await secretFor(asked).catch(refused), 'base64')
}

function refused(error: unknown): never {
  if (error instanceof ProblemError && error.code === 'forbidden')
    throw new StartFailure('secret_refused', `It was not given ${error.message}.`, error)
  throw error
}
