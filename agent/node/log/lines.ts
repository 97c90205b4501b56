/** Longer lines are kept in pieces of at most this many bytes. */
export const maxLineBytes = 64 * 1024

/** Cuts bytes into lines without their ends; a line that grows too long comes in pieces, never inside a character. */
export class LineSplitter {
  readonly #max: number
  #rest: Buffer = Buffer.alloc(0)

  constructor(max = maxLineBytes) {
    this.#max = max
  }

  push(chunk: Buffer): string[] {
    const lines: string[] = []
    let rest = this.#rest.length ? Buffer.concat([this.#rest, chunk]) : chunk
    for (;;) {
      const end = rest.indexOf(0x0a)
      if (end >= 0 && end <= this.#max) {
        lines.push(lineText(rest.subarray(0, end)))
        rest = rest.subarray(end + 1)
      } else if (rest.length > this.#max) {
        const cut = characterStart(rest, this.#max)
        lines.push(rest.subarray(0, cut).toString('utf8'))
        rest = rest.subarray(cut)
      } else break
    }
    this.#rest = Buffer.from(rest)
    return lines
  }

  /** Is part of a line waiting for its end? */
  get pending(): boolean {
    return this.#rest.length > 0
  }

  /** What came after the last line end. */
  flush(): string[] {
    const rest = this.#rest
    this.#rest = Buffer.alloc(0)
    return rest.length ? [lineText(rest)] : []
  }
}

/** Invalid UTF-8 becomes U+FFFD; a carriage return before the line end belongs to the line end. */
function lineText(bytes: Buffer): string {
  return (bytes.at(-1) === 0x0d ? bytes.subarray(0, -1) : bytes).toString('utf8')
}

/** The last index at or before `at` where a UTF-8 character begins; `at` itself in bytes that are no UTF-8. */
function characterStart(bytes: Buffer, at: number): number {
  for (let i = at; i > Math.max(0, at - 4); i--) if (((bytes[i] ?? 0) & 0xc0) !== 0x80) return i
  return at
}
