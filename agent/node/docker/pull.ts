import type { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { z } from 'zod'

/** What the engine said in the middle of a pull; it had answered 200 by then. */
export class PullError extends Error {}

export interface PullOptions {
  readonly credentials?: { username: string; password: string; serveraddress: string }
  readonly signal?: AbortSignal | undefined
  readonly progress?: (now: { bytes: number; total: number | null }) => void
  /** Bytes of all layers where they are known from the start. */
  readonly total?: number | undefined
  /** Without any news of the engine for so long it is given up, ms; how long it takes in all does not matter. */
  readonly idleMs?: number
}

/** Have the engine pull it; resolves when it is there. Rejects with the engine's own words, or when nothing moves. */
export async function pull(docker: Docker, image: string, options: PullOptions = {}): Promise<void> {
  const { credentials, signal, idleMs = 120_000 } = options
  const stalled = new AbortController()
  const idle = setTimeout(
    () => stalled.abort(new PullError(`nothing has moved for ${idleMs / 1000} s`)),
    idleMs,
  )
  const either = signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal
  const tagged = /@|:[^/]*$/.test(image) ? image : `${image}:latest`
  const meter = new Meter(options.total ?? null)
  let stream: Readable | undefined
  const stop = () => stream?.destroy()
  either.addEventListener('abort', stop)
  try {
    stream = (await docker.pull(tagged, {
      abortSignal: either,
      ...(credentials ? { authconfig: credentials } : {}),
    })) as Readable
    if (either.aborted) stop()
    for await (const line of linesOf(stream)) {
      if (line.error) throw new PullError(line.error)
      if (meter.read(line)) idle.refresh()
      options.progress?.({ bytes: meter.bytes, total: meter.total })
    }
    either.throwIfAborted()
  } catch (error) {
    either.throwIfAborted()
    throw error
  } finally {
    clearTimeout(idle)
    either.removeEventListener('abort', stop)
    stream?.destroy()
  }
}

const Line = z.object({
  id: z.string().optional(),
  status: z.string().optional(),
  error: z.string().optional(),
  progressDetail: z.object({ current: z.number().optional(), total: z.number().optional() }).optional(),
})
type Line = z.infer<typeof Line>

async function* linesOf(stream: Readable): AsyncGenerator<Line> {
  let rest = ''
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim()) yield Line.parse(JSON.parse(line))
  }
  if (rest.trim()) yield Line.parse(JSON.parse(rest))
}

/** Adds up the layers that an engine tells of. */
export class Meter {
  readonly #layers = new Map<string, { bytes: number; total: number }>()
  readonly #known: number | null
  #last = ''

  constructor(known: number | null = null) {
    this.#known = known
  }

  get bytes(): number {
    return [...this.#layers.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  get total(): number | null {
    const seen = [...this.#layers.values()].reduce((sum, { total }) => sum + total, 0)
    return seen === 0 && this.#known === null ? null : Math.max(seen, this.#known ?? 0)
  }

  /** True when it is news: an engine repeats itself while nothing moves. */
  read({ id = '', status = '', progressDetail: { current = 0, total = 0 } = {} }: Line): boolean {
    const text = `${id} ${status} ${current}`
    const isNews = text !== this.#last
    this.#last = text
    const layer = this.#layers.get(id)
    if (status === 'Downloading') this.#layers.set(id, { bytes: current, total: Math.max(total, current) })
    else if (layer && /^(Download complete|Pull complete|Extracting|Verifying)/.test(status))
      layer.bytes = layer.total
    return isNews
  }
}
