import { Worker } from 'node:worker_threads'
import type { RunResult } from './run.ts'

/** Seeds handed to a worker at a time: few, so that all end together. */
const AT_ONCE = 8

export interface PoolOptions {
  readonly workers: number
  /** Called as results come. True: no more seeds. */
  readonly onResult: (r: RunResult) => boolean
  /** The file each worker runs; that of another copy of the sources simulates those. */
  readonly worker?: URL
}

/** Runs seeds on several threads. Which thread runs a seed changes nothing about it. */
export async function runSeeds(seeds: readonly number[], o: PoolOptions): Promise<void> {
  let next = 0
  let stop = false
  const take = () => {
    const some = stop ? [] : seeds.slice(next, next + AT_ONCE)
    next += some.length
    return some
  }
  const one = async () => {
    const worker = new Worker(o.worker ?? new URL('./worker.ts', import.meta.url))
    try {
      for (let some = take(); some.length > 0; some = take()) {
        for (const r of await ask(worker, some)) if (!stop) stop = o.onResult(r)
      }
    } finally {
      await worker.terminate()
    }
  }
  await Promise.all(Array.from({ length: o.workers }, one))
}

function ask(worker: Worker, seeds: readonly number[]): Promise<RunResult[]> {
  return new Promise((resolve, reject) => {
    worker.removeAllListeners()
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.postMessage(seeds)
  })
}
