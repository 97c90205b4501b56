import type { Experiment, Task } from '../../../contract/objects.ts'
import { isFinal } from '../../../contract/states.ts'
import { sentence } from '../../ui/sentence.ts'

const signals: Record<number, string> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  4: 'SIGILL: an instruction this processor does not know',
  6: 'SIGABRT: the program gave up by itself',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL: most often out of memory, or it did not end within the grace after a stop',
  11: 'SIGSEGV: the program touched memory that is not its own',
  13: 'SIGPIPE',
  15: 'SIGTERM: somebody or something asked it to end',
}

/** What an exit code says, in words; the convention of shells and container engines. */
export function explainExit(code: number): string {
  if (code === 0) return 'The command ended well.'
  if (code === 125) return 'The container could not be created: image, mounts or runtime.'
  if (code === 126) return 'The command was found but cannot be executed.'
  if (code === 127) return 'The command was not found in the image.'
  if (code > 128 && code <= 192) return `Killed by ${signals[code - 128] ?? `signal ${code - 128}`}.`
  return 'The command itself reported a failure; its log says more.'
}

export interface Explanation {
  readonly text: string
  readonly code: string | null
  readonly hint: string | null
}

/** Why the experiment is in its state: the server's reason, and what the exit code of the failed task means. */
export function explain(experiment: Experiment): Explanation | undefined {
  const { reason, state, tasks } = experiment
  const failed = tasks.find((task) => task.state === 'Failed') ?? tasks.find((task) => task.exit_code)
  const stopping = experiment.stop_requested && !isFinal(state)
  const cause = reason ?? failed?.reason ?? waiting(tasks)?.reason ?? null
  if (stopping) return { text: 'Stopping: the command has been asked to end.', code: null, hint: null }
  const hint =
    state === 'Failed' && failed?.exit_code
      ? `Exit code ${failed.exit_code}. ${explainExit(failed.exit_code)}`
      : null
  if (!cause && !hint) return undefined
  if (!cause) return { text: hint ?? '', code: null, hint: null }
  return { text: sentence(cause.message), code: cause.code, hint }
}

const waiting = (tasks: readonly Task[]) =>
  tasks.find((task) => !isFinal(task.state) && task.state !== 'Running' && task.reason)
