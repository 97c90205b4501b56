import type { LogLine } from '../../contract/objects.ts'
import { find, type KeptLine, LogBuffer } from './log-buffer.ts'

const flushMs = 80

/** What a LogView shows: lines as they come, whether it follows the end, and a search over all of them. */
export class LogModel {
  readonly #buffer: LogBuffer
  #lines = $state.raw<readonly KeptLine[]>([])
  #pending: LogLine[] = []
  #unread = $state(0)
  #read = $state(false)
  #follow = $state(true)
  #search = $state('')
  #hit = $state(0)

  readonly hits: readonly number[] = $derived(find(this.#lines, this.#search))
  /** Index of the line the search stands on. */
  readonly current: number | undefined = $derived(this.hits[Math.min(this.#hit, this.hits.length - 1)])

  constructor(capacity?: number) {
    this.#buffer = new LogBuffer(capacity)
  }

  get lines(): readonly KeptLine[] {
    return this.#lines
  }
  /** Something was answered: no lines means that there are none. */
  get read(): boolean {
    return this.#read
  }
  get dropped(): number {
    return this.#buffer.dropped
  }
  get unread(): number {
    return this.#unread
  }
  get follow(): boolean {
    return this.#follow
  }
  set follow(on: boolean) {
    this.#follow = on
    if (on) this.#unread = 0
  }
  get search(): string {
    return this.#search
  }
  set search(text: string) {
    this.#search = text
    this.#hit = 0
    if (text) this.follow = false
  }
  /** One-based, for "3 of 17". */
  get hitNumber(): number {
    return this.hits.length ? Math.min(this.#hit, this.hits.length - 1) + 1 : 0
  }

  step(by: 1 | -1): void {
    if (this.hits.length) this.#hit = (this.hitNumber - 1 + by + this.hits.length) % this.hits.length
  }

  push(line: LogLine): void {
    if (this.#pending.push(line) === 1) setTimeout(() => this.flush(), flushMs)
  }

  /** The log was opened and held nothing so far. */
  opened(): void {
    this.#read = true
  }

  flush(): void {
    if (this.#pending.length) this.#read = true
    const before = this.#lines.length + this.#buffer.dropped
    this.#buffer.push(this.#pending, !this.#follow)
    this.#pending = []
    this.#lines = this.#buffer.lines
    if (!this.#follow) this.#unread += this.#lines.length + this.#buffer.dropped - before
  }

  clear(): void {
    this.#pending = []
    this.#buffer.clear()
    this.#lines = this.#buffer.lines
    this.#read = false
    this.follow = true
  }

  text(): string {
    return this.#lines.map(({ plain }) => plain).join('\n')
  }
}
