import type { Experiment, Task } from '../../../contract/objects.ts'
import type { Reason } from '../../../contract/reason.ts'
import { isFinal } from '../../../contract/states.ts'
import { sentence } from '../../ui/sentence.ts'

/** What to look at first, by exit code; 128 + n says "killed by signal n", as shells and engines write it. */
const advice: Record<number, string> = {
  125: 'The container could not be created: look at the image, the mounts and the runtime.',
  126: 'Check the file’s mode and its first line.',
  127: 'Check the spelling, and that the image holds the program.',
  132: 'The program used an instruction that this processor does not have.',
  134: 'The program gave up by itself.',
  137: 'A kill comes most often from running out of memory.',
  139: 'The program touched memory that is not its own.',
  143: 'Somebody or something asked it to end.',
}

/** An exit code in words. */
export function explainExit(code: number): string {
  if (code === 0) return 'The command ended well.'
  return `It ended with exit code ${code}. ${advice[code] ?? 'Its log may say why.'}`
}

export interface Explanation {
  readonly text: string
  readonly code: string | null
  readonly hint: string | null
}

/** Why an experiment is in its state, when there is something to say: the server's reason, and what to look at. */
export function explain(experiment: Experiment): Explanation | undefined {
  const { state, tasks, stop_requested } = experiment
  if (state === 'Succeeded') return undefined
  if (stop_requested && !isFinal(state))
    return { text: 'Stopping: the command has been asked to end.', code: null, hint: null }
  const failed = tasks.find((task) => task.state === 'Failed') ?? tasks.find((task) => task.exit_code)
  const cause: Reason | null =
    experiment.reason ?? (state === 'Failed' ? failed?.reason : waiting(tasks)?.reason) ?? null
  const exit = state === 'Failed' ? (failed?.exit_code ?? null) : null
  if (!cause) return exit ? { text: explainExit(exit), code: null, hint: null } : undefined
  // A cause of its own, as "out of memory", needs no reading of the exit code.
  const hint = exit && cause.code === 'exit_code' ? (advice[exit] ?? null) : null
  return { text: sentence(cause.message), code: cause.code, hint }
}

const waiting = (tasks: readonly Task[]) =>
  tasks.find((task) => !isFinal(task.state) && task.state !== 'Running' && task.reason)
