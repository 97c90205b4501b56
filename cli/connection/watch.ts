import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../../contract/client.ts'
import type { Event, Experiment } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { isFinal } from '../../contract/states.ts'

/** Events after a resource version, each once, through any number of agents; expired versions are read up by list. */
export async function* watchEvents(client: Client, from: number, seen: Set<string>): AsyncGenerator<Event> {
  let version = from
  for (let pauses = 0; ;) {
    try {
      const query = { resource_version: version, kinds: 'event' }
      for await (const { id, data } of client.events('watch', { query })) {
        pauses = 0
        if (id !== undefined && /^\d+$/.test(id)) version = Number(id)
        if (data.kind !== 'event' || seen.has(data.object.id)) continue
        seen.add(data.object.id)
        yield data.object
      }
    } catch (error) {
      if (error instanceof ProblemError && error.code === 'watch_expired') {
        const page = await client.call('events.list', { query: { page_size: 1000 } })
        version = page.resource_version
        for (const event of page.items.toReversed().filter((e) => !seen.has(e.id))) {
          seen.add(event.id)
          yield event
        }
      } else if (error instanceof ProblemError) throw error
    }
    await sleep(Math.min(100 * 2 ** pauses++, 2000))
  }
}

/** Ask until the experiment has ended; every change of state on the way is reported. */
export async function waitUntilFinal(
  client: Client,
  id: string,
  onChange: (experiment: Experiment) => void = () => undefined,
  signal?: AbortSignal,
): Promise<Experiment> {
  let last: string | undefined
  for (let pause = 200; ; pause = Math.min(pause * 1.5, 1000)) {
    const now = await client.call('experiments.get', {
      params: { experiment: id },
      ...(signal ? { signal } : {}),
    })
    const state = `${now.state} ${now.reason?.code ?? ''} ${now.tasks.map((t) => t.node).join()}`
    if (state !== last) onChange(now)
    last = state
    if (isFinal(now.state)) return now
    await sleep(pause, undefined, signal ? { signal } : {})
  }
}
