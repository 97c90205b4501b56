import type { Experiment } from '../../../contract/objects.ts'
import { isFinal } from '../../../contract/states.ts'
import type { Api } from '../../api/client.ts'
import { sleep } from '../../api/retry.ts'
import { LogModel } from '../../ui/log.svelte.ts'
import { followLog, type LogQuery, type LogStatus } from './log-follow.ts'

/** Lines asked for at first; what is older stays on the node and is a search or a download away. */
const firstTail = 50_000

/** The log of one experiment, all tasks or one, held open while the page shows it. */
export class LogFeed {
  readonly model = new LogModel()
  readonly #api: Api
  readonly #experiment: () => Experiment | undefined
  #status = $state.raw<LogStatus>('reading')
  #stop: AbortController | undefined

  constructor(api: Api, experiment: () => Experiment | undefined) {
    this.#api = api
    this.#experiment = experiment
  }

  get status(): LogStatus {
    return this.#status
  }

  /** `task` empty: all; `attempt` undefined: the newest, and those that come after it. */
  open(id: string, task: string, attempt: number | undefined): void {
    this.close()
    this.model.clear()
    this.model.follow = true
    const { signal } = (this.#stop = new AbortController())
    void followLog(
      {
        query: (lastTime) => this.#query(task, attempt, lastTime),
        open: (query, inner) =>
          this.#api.events('experiments.logs', { params: { experiment: id }, query, signal: inner }),
        line: (line) => this.model.push(line),
        over: () => this.#over(task, attempt),
        status: (now) => (this.#status = now),
        sleep,
      },
      signal,
    )
  }

  close(): void {
    this.#stop?.abort()
  }

  #task(id: string) {
    const tasks = this.#experiment()?.tasks ?? []
    return id ? tasks.find((task) => task.id === id) : tasks.length === 1 ? tasks[0] : undefined
  }

  #query(id: string, wanted: number | undefined, lastTime: string | undefined): LogQuery {
    const task = this.#task(id)
    // Several tasks share no offset: go on from the time of the last line.
    if (!task) return { follow: '1', ...(lastTime ? { since: lastTime } : { tail: firstTail }) }
    const attempt = wanted ?? (task.attempt || undefined)
    const offset = attempt === undefined ? undefined : this.model.offset(task.id, attempt)
    return {
      follow: '1',
      task: task.id,
      ...(attempt === undefined ? {} : { attempt }),
      ...(offset === undefined ? { tail: firstTail } : { offset }),
    }
  }

  #over(id: string, wanted: number | undefined): boolean {
    const experiment = this.#experiment()
    if (!experiment) return false
    const task = this.#task(id)
    if (!task) return isFinal(experiment.state)
    return isFinal(task.state) || (wanted !== undefined && wanted < task.attempt)
  }
}
