import { problemFrom } from '../api/client.ts'

export interface Notice {
  readonly id: number
  readonly kind: 'good' | 'bad'
  readonly text: string
  readonly hint?: string
}

const shownMs = 6000

/** Outcomes of what a person asked for. Failures stay until dismissed. */
export class Notices {
  #items = $state.raw<readonly Notice[]>([])
  #last = 0

  get items(): readonly Notice[] {
    return this.#items
  }

  good(text: string): void {
    const { id } = this.#add({ kind: 'good', text })
    setTimeout(() => this.dismiss(id), shownMs)
  }

  bad(what: string, error: unknown): void {
    const { message, hint, code } = problemFrom(error)
    this.#add({ kind: 'bad', text: `${what}: ${message} (${code})`, hint })
  }

  dismiss(id: number): void {
    this.#items = this.#items.filter((item) => item.id !== id)
  }

  #add(notice: Omit<Notice, 'id'>): Notice {
    const added = { ...notice, id: ++this.#last }
    this.#items = [...this.#items, added].slice(-5)
    return added
  }
}
