// What the load process and a member say to each other: [length u32][id u32][kind u8][body], the length without itself.

export const WRITE = 1
export const READ = 2
export const OK = 0
export const FAILED = 1

const HEAD = 9

export interface Frame {
  readonly id: number
  readonly kind: number
  readonly body: Buffer
}

export function encodeFrame(id: number, kind: number, body: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(HEAD + body.length)
  out.writeUInt32LE(HEAD - 4 + body.length, 0)
  out.writeUInt32LE(id, 4)
  out[8] = kind
  out.set(body, HEAD)
  return out
}

/** Calls `onFrame` for each whole frame of a byte stream. */
export function frameReader(onFrame: (f: Frame) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (data.length - at >= HEAD) {
      const end = at + 4 + data.readUInt32LE(at)
      if (end > data.length) break
      onFrame({
        id: data.readUInt32LE(at + 4),
        kind: data[at + 8] as number,
        body: data.subarray(at + HEAD, end),
      })
      at = end
    }
    rest = data.subarray(at)
  }
}

/** A write's body, and the command in the log: [key length u8][key][value]. */
export function encodePut(key: string, value: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(1 + key.length + value.length)
  out[0] = key.length
  out.write(key, 1, 'latin1')
  out.set(value, 1 + key.length)
  return out
}

export function decodePut(data: Uint8Array): { key: string; value: Uint8Array } {
  const end = 1 + (data[0] ?? 0)
  const key = Buffer.from(data.buffer, data.byteOffset + 1, end - 1).toString('latin1')
  return { key, value: data.subarray(end) }
}
