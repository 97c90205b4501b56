import type { LogLine } from '../../contract/objects.ts'

/** A line as the viewer keeps it. */
export interface KeptLine {
  /** Grows by one per line; never used again. */
  readonly seq: number
  readonly line: LogLine
  /** Text without terminal colours, for search and copying. */
  readonly plain: string
  /** Set on the first line of a second or later attempt. */
  readonly begins: number | undefined
}

const ansi = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g

/**
 * The newest lines of a log, at most `capacity`. A line that comes again after a reconnect is dropped: per task and
 * attempt, offsets only grow.
 */
export class LogBuffer {
  readonly #capacity: number
  readonly #seen = new Map<string, number>()
  #lines: readonly KeptLine[] = []
  #seq = 0
  #dropped = 0

  constructor(capacity = 100_000) {
    this.#capacity = capacity
  }

  /** A new array after every change: comparing identity tells whether something changed. */
  get lines(): readonly KeptLine[] {
    return this.#lines
  }
  get dropped(): number {
    return this.#dropped
  }

  /** `hold`: somebody reads above; let the buffer grow to twice its size rather than pull lines away. */
  push(lines: readonly LogLine[], hold = false): void {
    const fresh: KeptLine[] = []
    for (const line of lines) {
      const key = `${line.task}#${line.attempt}`
      if (line.offset <= (this.#seen.get(key) ?? -1)) continue
      const begins = line.attempt > 1 && !this.#seen.has(key) ? line.attempt : undefined
      this.#seen.set(key, line.offset)
      fresh.push({ seq: this.#seq++, line, plain: plainText(line.text), begins })
    }
    if (!fresh.length) return
    const all = [...this.#lines, ...fresh]
    const excess = all.length - this.#capacity * (hold ? 2 : 1)
    if (excess > 0) this.#dropped += excess
    this.#lines = excess > 0 ? all.slice(excess) : all
  }

  clear(): void {
    this.#lines = []
    this.#seen.clear()
    this.#dropped = 0
  }
}

/** Progress bars rewrite their line after a carriage return: what stands last is what a terminal would show. */
export function visibleText(text: string): string {
  const trimmed = text.endsWith('\r') ? text.slice(0, -1) : text
  return trimmed.slice(trimmed.lastIndexOf('\r') + 1)
}

export const plainText = (text: string): string => {
  const visible = visibleText(text)
  return visible.includes('\u001b') ? visible.replaceAll(ansi, '') : visible
}

/** Indexes of the lines containing `text`, case ignored. */
export function find(lines: readonly KeptLine[], text: string): number[] {
  const wanted = text.toLowerCase()
  if (!wanted) return []
  const found: number[] = []
  for (const [at, { plain }] of lines.entries()) if (plain.toLowerCase().includes(wanted)) found.push(at)
  return found
}
