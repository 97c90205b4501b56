import type { Experiment } from '../../../contract/objects.ts'
import { isFinal } from '../../../contract/states.ts'
import type { Api } from '../../api/client.ts'
import { sleep } from '../../api/retry.ts'
import { LogModel } from '../../ui/log.svelte.ts'
import { followLog, type LogStatus } from './log-follow.ts'

/** Lines asked for at first; what is older stays on the node. */
const firstTail = 50_000

/** The log of one experiment, all tasks or one, held open while the page shows it. */
export class LogFeed {
  readonly model = new LogModel()
  readonly #api: Api
  readonly #experiment: () => Experiment
  #status = $state.raw<LogStatus>('reading')
  #stop: AbortController | undefined

  constructor(api: Api, experiment: () => Experiment) {
    this.#api = api
    this.#experiment = experiment
  }

  get status(): LogStatus {
    return this.#status
  }

  /** `task` empty: all; `attempt` undefined: the newest, and those that come after it. */
  open(task: string, attempt: number | undefined): void {
    this.close()
    this.model.clear()
    const { id } = this.#experiment()
    const { signal } = (this.#stop = new AbortController())
    const query = {
      // One attempt alone is read to its end; followed, the later ones would come after it.
      ...(attempt === undefined ? { follow: '1' as const } : { attempt }),
      ...(task ? { task } : {}),
      tail: firstTail,
    }
    void followLog(
      {
        open: (after, inner) =>
          this.#api.events('experiments.logs', {
            params: { experiment: id },
            query: after && after.id === undefined ? { ...query, since: after.time } : query,
            signal: inner,
            ...(after?.id ? { headers: { 'last-event-id': after.id } } : {}),
          }),
        line: (line) => this.model.push(line),
        over: () => attempt !== undefined || this.#isOver(task),
        status: (now) => (this.#status = now),
        sleep,
      },
      signal,
    )
  }

  close(): void {
    this.#stop?.abort()
  }

  #isOver(task: string): boolean {
    const { state, tasks } = this.#experiment()
    return isFinal(tasks.find(({ id }) => id === task)?.state ?? state)
  }
}
