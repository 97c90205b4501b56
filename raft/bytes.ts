import { RaftError } from './types.ts'

/** Bytes of an integer that Writer writes. */
export function intLength(n: number): number {
  let length = 1
  for (; n >= 0x8000_0000; n = Math.floor(n / 128)) length++
  for (; n >= 0x80; n >>>= 7) length++
  return length
}

/** Little end first, without the checks of Buffer's own way. */
export function putU32(buf: Uint8Array, at: number, n: number): void {
  buf[at] = n
  buf[at + 1] = n >>> 8
  buf[at + 2] = n >>> 16
  buf[at + 3] = n >>> 24
}

/** Appends to a growing buffer. Integers are varints up to 2^53, little end first. */
export class Writer {
  #buf: Buffer
  #pos = 0

  constructor(sizeHint = 256) {
    this.#buf = Buffer.allocUnsafe(sizeHint)
  }

  get length(): number {
    return this.#pos
  }

  byte(n: number): this {
    this.#reserve(1)
    this.#buf[this.#pos++] = n
    return this
  }

  u32(n: number): this {
    this.#reserve(4)
    putU32(this.#buf, this.#pos, n)
    this.#pos += 4
    return this
  }

  int(n: number): this {
    if (!Number.isSafeInteger(n) || n < 0)
      throw new RaftError('codec', `${n} is not a non-negative safe integer`)
    if (this.#buf.length - this.#pos < 8) this.#reserve(intLength(n))
    const buf = this.#buf
    let pos = this.#pos
    for (; n >= 0x8000_0000; n = Math.floor(n / 128)) buf[pos++] = (n & 0x7f) | 0x80
    for (; n >= 0x80; n >>>= 7) buf[pos++] = (n & 0x7f) | 0x80
    buf[pos++] = n
    this.#pos = pos
    return this
  }

  raw(data: Uint8Array): this {
    this.#reserve(data.length)
    this.#buf.set(data, this.#pos)
    this.#pos += data.length
    return this
  }

  bytes(data: Uint8Array): this {
    return this.int(data.length).raw(data)
  }

  text(s: string): this {
    return this.bytes(Buffer.from(s))
  }

  setU32(at: number, n: number): this {
    putU32(this.#buf, at, n)
    return this
  }

  /** What was written, without a copy. Write no more afterwards. */
  done(): Buffer {
    return this.#pos === this.#buf.length ? this.#buf : this.#buf.subarray(0, this.#pos)
  }

  #reserve(n: number): void {
    if (this.#pos + n <= this.#buf.length) return
    const next = Buffer.allocUnsafe(Math.max(this.#buf.length * 2, this.#pos + n))
    this.#buf.copy(next, 0, 0, this.#pos)
    this.#buf = next
  }
}

/** Reads what Writer wrote. Anything malformed is a RaftError 'codec'; byte strings share memory with the input. */
export class Reader {
  readonly #data: Uint8Array
  #pos = 0

  constructor(data: Uint8Array) {
    this.#data = data
  }

  get left(): number {
    return this.#data.length - this.#pos
  }

  byte(): number {
    this.#need(1)
    return this.#data[this.#pos++] as number
  }

  u32(): number {
    this.#need(4)
    const d = this.#data
    const p = this.#pos
    this.#pos += 4
    const high = (d[p + 3] as number) * 0x100_0000
    return high + (((d[p + 2] as number) << 16) | ((d[p + 1] as number) << 8) | (d[p] as number))
  }

  int(): number {
    let n = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const b = this.byte()
      n += (b & 0x7f) * scale
      if (b < 0x80) {
        if (!Number.isSafeInteger(n)) break
        return n
      }
      scale *= 128
    }
    throw new RaftError('codec', 'integer out of range')
  }

  /** A count of things that take at least one byte each, so garbage cannot make us allocate. */
  count(): number {
    const n = this.int()
    this.#need(n)
    return n
  }

  bool(): boolean {
    const b = this.byte()
    if (b > 1) throw new RaftError('codec', `${b} is not a boolean`)
    return b === 1
  }

  bytes(): Uint8Array {
    return this.take(this.int())
  }

  take(n: number): Uint8Array {
    this.#need(n)
    return this.#data.subarray(this.#pos, (this.#pos += n))
  }

  text(): string {
    const b = this.bytes()
    return Buffer.from(b.buffer, b.byteOffset, b.length).toString()
  }

  rest(): Uint8Array {
    return this.#data.subarray(this.#pos, (this.#pos = this.#data.length))
  }

  end(): void {
    if (this.left > 0) throw new RaftError('codec', `${this.left} bytes too many`)
  }

  #need(n: number): void {
    if (n > this.left) throw new RaftError('codec', `${n} bytes expected, ${this.left} left`)
  }
}
