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
  const waiting: T[] = []
  const failures: unknown[] = []
  let running = sources.length
  let stopped = false
  let wakeReader = () => {}
  let room = Promise.withResolvers<void>()
  const pump = async (source: AsyncIterable<T>) => {
    try {
      for await (const item of source) {
        while (waiting.length >= most && !stopped) await room.promise
        if (stopped) return
        waiting.push(item)
        wakeReader()
      }
    } catch (error) {
      failures.push(error)
    } finally {
      running--
      wakeReader()
    }
  }
  const stop = () => {
    stopped = true
    room.resolve()
    wakeReader()
  }
  signal.addEventListener('abort', stop, { once: true })
  const pumps = sources.map(pump)
  try {
    for (;;) {
      while (waiting.length && !stopped) {
        yield waiting.shift() as T
        room.resolve()
        room = Promise.withResolvers()
      }
      if (stopped || running === 0) break
      await new Promise<void>((resolve) => (wakeReader = resolve))
    }
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
  }
  await Promise.all(pumps)
  if (failures.length && !signal.aborted) throw failures[0]
}
