import type { Operation } from './model.ts'

/** An operation under way. Exactly one of these is called, once. */
export interface UnderWay<Output> {
  answered(output: Output): void
  /** It certainly did not and will not run: it leaves no trace. */
  refused(): void
  /** No answer, or one that leaves open whether it ran. */
  unknown(): void
}

export interface HistoryRecorder<Input, Output> {
  call(client: number | string, input: Input): UnderWay<Output>
  /** What was recorded so far; operations under way count as unanswered. */
  operations(): Operation<Input, Output>[]
}

/** Records what clients see. Its clock is the order in which it is told, exact where all clients share one process. */
export function recordHistory<Input, Output>(): HistoryRecorder<Input, Output> {
  let now = 0
  const records = new Set<{
    client: number | string
    input: Input
    call: number
    output?: Output
    end?: number
  }>()
  return {
    call(client, input) {
      const record: Parameters<typeof records.add>[0] = { client, input, call: ++now }
      records.add(record)
      let ended = false
      const end = (how: () => void) => {
        if (ended) throw new Error(`an operation of ${client} ended twice`)
        ended = true
        how()
      }
      return {
        answered: (output) =>
          end(() => {
            if (output === undefined) throw new TypeError('an answered operation needs an output')
            record.output = output
            record.end = ++now
          }),
        refused: () => end(() => records.delete(record)),
        unknown: () => end(() => undefined),
      }
    },
    operations: () =>
      [...records].map(({ client, input, call, output, end = Infinity }) => ({
        client,
        input,
        output,
        call,
        return: end,
      })),
  }
}
