import type { Experiment } from '../../../contract/objects.ts'
import { isFinal } from '../../../contract/states.ts'
import type { Api } from '../../api/client.ts'
import { sleep } from '../../api/retry.ts'
import { LogModel } from '../../ui/log.svelte.ts'
import { followLog, type LogStatus } from './log-follow.ts'

/** Lines asked for at first; what is older stays on the node. */
const firstTail = 50_000
/** A log followed for so long without a line has none yet: an open stream says nothing else. */
const patienceMs = 2500

/** The log of one experiment, all tasks or one, held open while the page shows it. */
export class LogFeed {
  readonly model: LogModel
  readonly #api: Api
  readonly #experiment: () => Experiment
  #status = $state.raw<LogStatus>('reading')
  readonly #tail: number
  #patience: ReturnType<typeof setTimeout> | undefined
  #stop: AbortController | undefined

  /** `tail`: only the newest lines are asked for and kept. */
  constructor(api: Api, experiment: () => Experiment, tail?: number) {
    this.#api = api
    this.#experiment = experiment
    this.#tail = tail ?? firstTail
    this.model = new LogModel(tail)
  }

  get status(): LogStatus {
    return this.#status
  }

  /** What to say while there is no line. */
  get waiting(): string {
    const { state, started_at } = this.#experiment()
    if (!started_at && !isFinal(state)) return 'The log begins when the command starts.'
    if (isFinal(state)) return this.#status === 'ended' ? 'It wrote nothing.' : 'Reading the log…'
    return this.model.read ? 'Nothing written yet.' : 'Reading the log…'
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
      tail: this.#tail,
    }
    this.#patience = setTimeout(() => {
      if (this.#status === 'reading' && !this.#isOver(task)) this.model.opened()
    }, patienceMs)
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
        status: (now) => this.#tell(now),
        sleep,
      },
      signal,
    )
  }

  close(): void {
    this.#stop?.abort()
    clearTimeout(this.#patience)
  }

  #tell(now: LogStatus): void {
    this.#status = now
    if (now === 'ended') this.model.opened()
  }

  #isOver(task: string): boolean {
    const { state, tasks } = this.#experiment()
    return isFinal(tasks.find(({ id }) => id === task)?.state ?? state)
  }
}
