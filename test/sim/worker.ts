import { parentPort } from 'node:worker_threads'
import { runSeed, type RunResult } from './run.ts'

// A promise that nobody handles would end an agent, so it is a finding.
const unhandled: string[] = []
process.on('unhandledRejection', (e) =>
  unhandled.push(e instanceof Error ? (e.stack ?? e.message) : String(e)),
)

async function run(seed: number): Promise<RunResult> {
  unhandled.length = 0
  const result = await runSeed(seed)
  // Rejections are told when nothing else is left to do.
  await new Promise((resolve) => setImmediate(resolve))
  const [first] = unhandled
  return first === undefined || result.violation !== undefined
    ? result
    : { ...result, violation: `unhandled rejection: ${first}` }
}

parentPort?.on('message', (seeds: readonly number[]) => {
  void (async () => {
    const results: RunResult[] = []
    for (const seed of seeds) results.push(await run(seed))
    parentPort?.postMessage(results)
  })()
})
