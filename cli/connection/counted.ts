/** The same file, telling how much of it was read; what is sent again is counted from its beginning. */
export function counted(file: Blob, count: (bytes: number) => void): Blob {
  const read = file.stream.bind(file)
  file.stream = () => {
    let bytes = 0
    const counter = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, out) => {
        count((bytes += chunk.length))
        out.enqueue(chunk)
      },
    })
    return read().pipeThrough(counter) as ReturnType<Blob['stream']>
  }
  return file
}
