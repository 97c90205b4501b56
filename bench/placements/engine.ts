import type { Exit, Found, Launch, Runtime } from '../../agent/node/runtime.ts'

/** A double of an engine: nothing runs, and every task ends well after so long. */
export function pretendingEngine(taskMs: number): Runtime {
  const known = new Map<string, Found & { readonly ended: Promise<Exit> }>()
  const exit = (): Exit => ({
    exitCode: 0,
    oomKilled: false,
    failure: null,
    finishedAt: new Date().toISOString(),
  })
  return {
    name: 'process',
    start: ({ task, attempt }: Launch) => {
      const handle = `${task}.${attempt}`
      const ended = new Promise<Exit>((resolve) => setTimeout(() => resolve(exit()), taskMs))
      const found = { task, attempt, handle, startedAt: new Date().toISOString(), exit: null, ended }
      known.set(handle, found)
      void ended.then((it) => known.has(handle) && known.set(handle, { ...found, exit: it }))
      return Promise.resolve(found)
    },
    list: () => Promise.resolve([...known.values()]),
    wait: async ({ handle }) => (await known.get(handle)?.ended) ?? exit(),
    stop: () => Promise.resolve(),
    remove: ({ handle }) => {
      known.delete(handle)
      return Promise.resolve()
    },
    // It writes nothing until it ends.
    log: async function* ({ handle }) {
      await known.get(handle)?.ended
    },
  }
}
