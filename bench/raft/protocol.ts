// What the load process and a member say to each other: [length u32][id u32][kind u8][body], the length without itself.

export const WRITE = 1
export const READ = 2
export const OK = 0
export const FAILED = 1

const HEAD = 9
const NOTHING: Buffer = Buffer.alloc(0)

export interface Frame<Body extends Uint8Array = Uint8Array> {
  readonly id: number
  readonly kind: number
  readonly body: Body
}

export function encodeFrame(id: number, kind: number, body: Uint8Array): Buffer {
  return encodeFrames([{ id, kind, body }])
}

export function encodeFrames(frames: readonly Frame[]): Buffer {
  let size = 0
  for (const { body } of frames) size += HEAD + body.length
  const out = Buffer.allocUnsafe(size)
  let at = 0
  for (const { id, kind, body } of frames) {
    writeHead(out, at, id, kind, body.length)
    if (body.length > 0) out.set(body, at + HEAD)
    at += HEAD + body.length
  }
  return out
}

function writeHead(out: Buffer, at: number, id: number, kind: number, length: number): void {
  putU32(out, at, HEAD - 4 + length)
  putU32(out, at + 4, id)
  out[at + 8] = kind
}

/** Little end first, without the checks of Buffer's own ways. */
function putU32(out: Buffer, at: number, n: number): void {
  out[at] = n
  out[at + 1] = n >>> 8
  out[at + 2] = n >>> 16
  out[at + 3] = n >>> 24
}

function u32(data: Buffer, at: number): number {
  const b = (i: number) => data[at + i] as number
  return (b(0) | (b(1) << 8) | (b(2) << 16) | (b(3) << 24)) >>> 0
}

/** Calls `onFrame` for each whole frame of a byte stream. */
export function frameReader(onFrame: (f: Frame<Buffer>) => void): (chunk: Buffer) => void {
  let rest = NOTHING
  return (chunk) => {
    const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (data.length - at >= HEAD) {
      const end = at + 4 + u32(data, at)
      if (end > data.length) break
      onFrame({
        id: u32(data, at + 4),
        kind: data[at + 8] as number,
        body: data.subarray(at + HEAD, end),
      })
      at = end
    }
    rest = at < data.length ? data.subarray(at) : NOTHING
  }
}

/** A write's frame. Its body, and the command in the log: [key length u8][key][value]. */
export function encodeWrite(id: number, key: string, value: Uint8Array): Buffer {
  const length = 1 + key.length + value.length
  const out = Buffer.allocUnsafe(HEAD + length)
  writeHead(out, 0, id, WRITE, length)
  out[HEAD] = key.length
  out.write(key, HEAD + 1, 'latin1')
  out.set(value, HEAD + 1 + key.length)
  return out
}

export function keyOf(put: Uint8Array): string {
  const bytes = Buffer.isBuffer(put) ? put : Buffer.from(put.buffer, put.byteOffset, put.length)
  return bytes.toString('latin1', 1, 1 + (put[0] ?? 0))
}

export function decodePut(put: Uint8Array): { key: string; value: Uint8Array } {
  return { key: keyOf(put), value: put.subarray(1 + (put[0] ?? 0)) }
}
