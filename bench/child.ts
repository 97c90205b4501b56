import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

interface Question {
  readonly id: number
  readonly ask: string
  readonly with: unknown
}
interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

/** A process of this bench, that answers questions over Node's IPC channel. */
export class Child {
  readonly process: ChildProcess
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (e: Error) => void }>()
  #nextId = 1

  /** `inside` is put before the command line, to run it in a network namespace. */
  constructor(
    file: string,
    config: unknown,
    o: { inside?: (line: string[]) => string[]; node?: string[] } = {},
  ) {
    const line = [process.execPath, ...(o.node ?? []), file, JSON.stringify(config)]
    const [command = '', ...args] = o.inside ? o.inside(line) : line
    this.process = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.process.on('message', (m) => this.#onAnswer(m as Answer))
    this.process.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`${file} ended with ${code ?? signal}`))
      this.#waiting.clear()
    })
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  get pid(): number {
    return this.process.pid ?? 0
  }

  ask<T>(question: string, with_?: unknown): Promise<T> {
    if (!this.running) return Promise.reject(new Error(`nobody to ask for ${question}: the process ended`))
    const id = this.#nextId++
    const asked: Question = { id, ask: question, with: with_ }
    this.process.send(asked)
    return new Promise<T>((resolve, reject) =>
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject }),
    )
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!this.running) return
    const gone = once(this.process, 'exit')
    this.process.kill(signal)
    await gone
  }

  #onAnswer(a: Answer): void {
    const waiting = this.#waiting.get(a.id)
    this.#waiting.delete(a.id)
    if (a.error === undefined) waiting?.resolve(a.value)
    else waiting?.reject(new Error(a.error))
  }
}

/** In the child: how each question is answered. Ends with its parent. */
export function answer(handlers: Record<string, (with_: never) => unknown>): void {
  process.on('message', ({ id, ask, with: with_ }: Question) => {
    void (async () => {
      const handler = handlers[ask]
      if (!handler) throw new Error(`nobody here answers ${ask}`)
      return handler(with_ as never)
    })().then(
      (value) => process.send?.({ id, value } satisfies Answer),
      (e: unknown) => process.send?.({ id, error: e instanceof Error ? (e.stack ?? e.message) : String(e) }),
    )
  })
  process.on('disconnect', () => process.exit(0))
}

/** In the child: what its parent configured. */
export const config = <T>(): T => JSON.parse(process.argv[2] ?? '{}') as T
