import { setImmediate } from 'node:timers/promises'

/** So long a slice of planning may hold the agent's loop, ms: heartbeats and requests wait meanwhile. */
const sliceMs = 4

/** Runs steps to their end, letting everything else run in between. */
export async function inSlices<T>(
  steps: Generator<void, T, void>,
  now: () => number = () => performance.now(),
): Promise<T> {
  let begin = now()
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    if (now() - begin < sliceMs) continue
    await setImmediate()
    begin = now()
  }
}
