/** How much of a request is kept so that it can be sent again through another agent. */
const kept = 1024 ** 2

/** A request's body: whole when small, else a stream that can be sent once. */
export type Body =
  { kind: 'whole'; bytes: Uint8Array | undefined } | { kind: 'stream'; chunks: AsyncIterable<Uint8Array> }

export async function readBody(stream: ReadableStream<Uint8Array> | null): Promise<Body> {
  if (!stream) return { kind: 'whole', bytes: undefined }
  const reader = stream.getReader()
  const first: Uint8Array[] = []
  for (let size = 0; size <= kept;) {
    const { done, value } = await reader.read()
    if (done) return { kind: 'whole', bytes: Buffer.concat(first) }
    first.push(value)
    size += value.length
  }
  return { kind: 'stream', chunks: rest(first, reader) }
}

async function* rest(
  first: Uint8Array[],
  reader: ReadableStreamDefaultReader<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* first
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

/** What arrives, handed on as it arrives; when the page stops reading, `onCancel` ends the source. */
export function liveStream(
  source: AsyncIterable<Uint8Array>,
  onCancel: () => void,
): ReadableStream<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Uint8Array, undefined>
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await chunks.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: onCancel,
  })
}
