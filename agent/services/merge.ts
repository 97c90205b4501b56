/** Merge sources that each come in order into one in order; a source that fails does not take the others along. */
export async function* mergeInOrder<T>(
  sources: readonly AsyncIterable<T>[],
  before: (a: T, b: T) => boolean,
): AsyncGenerator<T> {
  const failures: unknown[] = []
  const open = sources.map((source) => source[Symbol.asyncIterator]())
  const advance = async (iterator: AsyncIterator<T>) => {
    try {
      const result = await iterator.next()
      return result.done ? undefined : { iterator, value: result.value }
    } catch (error) {
      failures.push(error)
      return undefined
    }
  }
  try {
    let heads = (await Promise.all(open.map(advance))).filter((head) => head !== undefined)
    while (heads.length) {
      const first = heads.reduce((least, head) => (before(head.value, least.value) ? head : least))
      yield first.value
      const next = await advance(first.iterator)
      heads = heads.flatMap((head) => (head !== first ? head : (next ?? [])))
    }
  } finally {
    await Promise.allSettled(open.map(async (iterator) => iterator.return?.()))
  }
  if (failures.length) throw failures[0]
}

const most = 64

/**
 * Items of all sources as they come, at most `most` waiting: a slow reader slows the sources down. Ends when all have
 * ended. The sources must end when `signal` aborts.
 */
export async function* interleave<T>(
  sources: readonly AsyncIterable<T>[],
  signal: AbortSignal,
): AsyncGenerator<T> {
  const waiting = new Waiting<T>(sources.length)
  const stop = () => waiting.stop()
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  const pumps = sources.map((source) => waiting.fill(source))
  try {
    yield* waiting.items()
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
  }
  await Promise.all(pumps)
  if (waiting.failures.length && !signal.aborted) throw waiting.failures[0]
}

/** What the sources have given and the reader has not taken. */
class Waiting<T> {
  readonly failures: unknown[] = []
  readonly #items: T[] = []
  #running: number
  #stopped = false
  #wakeReader = () => {}
  #room = Promise.withResolvers<void>()

  constructor(sources: number) {
    this.#running = sources
  }

  async fill(source: AsyncIterable<T>): Promise<void> {
    try {
      for await (const item of source) {
        while (this.#items.length >= most && !this.#stopped) await this.#room.promise
        if (this.#stopped) return
        this.#items.push(item)
        this.#wakeReader()
      }
    } catch (error) {
      this.failures.push(error)
    } finally {
      this.#running--
      this.#wakeReader()
    }
  }

  stop(): void {
    this.#stopped = true
    this.#room.resolve()
    this.#wakeReader()
  }

  async *items(): AsyncGenerator<T> {
    for (;;) {
      while (this.#items.length && !this.#stopped) {
        yield this.#items.shift() as T
        this.#room.resolve()
        this.#room = Promise.withResolvers()
      }
      if (this.#stopped || this.#running === 0) return
      await new Promise<void>((resolve) => (this.#wakeReader = resolve))
    }
  }
}
