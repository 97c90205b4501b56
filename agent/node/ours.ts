import type { Ours } from './detect/processes.ts'
import { readJson } from './files.ts'
import { filesIn, type Running } from './process/folder.ts'
import type { Found, Runtime } from './runtime.ts'

/** What of this cluster runs on the host now. Throws when an engine does not answer. */
export async function oursOn(runtimes: readonly Pick<Runtime, 'name' | 'list'>[]): Promise<Ours> {
  const containers = new Map<string, string>()
  const leaders = new Map<number, string>()
  for (const runtime of runtimes)
    for (const found of await runtime.list()) {
      if (found.exit) continue
      if (runtime.name === 'docker') containers.set(found.handle, found.task)
      const leader = runtime.name === 'process' ? await leaderOf(found) : undefined
      if (leader !== undefined) leaders.set(leader, found.task)
    }
  return { containers, leaders }
}

async function leaderOf({ handle }: Found): Promise<number | undefined> {
  const running = (await readJson(filesIn(handle).running)) as Running | undefined
  return running?.leader?.pid
}
