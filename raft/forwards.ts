import type { ProposeMessage, Term } from './types.ts'

interface Outgoing {
  readonly number: number
  readonly commands: Uint8Array[]
  bytes: number
}

/** Commands for the leader, collected so that those of a moment share a message, in messages of bounded size. */
export class Outbox {
  readonly #maxBytes: number
  #last = 0
  #messages: Outgoing[] = []

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Returns the number of the message in which the command will leave. */
  add(command: Uint8Array): number {
    let m = this.#messages.at(-1)
    if (!m || m.bytes + command.length > this.#maxBytes)
      this.#messages.push((m = { number: ++this.#last, commands: [], bytes: 0 }))
    m.commands.push(command)
    m.bytes += command.length
    return m.number
  }

  take(): readonly Outgoing[] {
    const all = this.#messages
    this.#messages = []
    return all
  }
}

/** By so many a message may be overtaken by later ones; then it counts as lost. */
const WINDOW = 64

/** Which forwarded messages this member, as leader of a term, has handled: of those it has not, a refusal is certain. */
export class Arrivals {
  #term: Term = 0
  /** By origin; at n modulo WINDOW the highest number n handled. */
  readonly #handled = new Map<number, number[]>()

  /** True at most once for a message. */
  first({ term, origin, number }: ProposeMessage): boolean {
    if (term !== this.#term) this.#handled.clear()
    this.#term = term
    let numbers = this.#handled.get(origin)
    if (!numbers) this.#handled.set(origin, (numbers = new Array<number>(WINDOW).fill(0)))
    const at = number % WINDOW
    if (number <= (numbers[at] ?? 0)) return false
    numbers[at] = number
    return true
  }
}
