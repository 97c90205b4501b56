/** Events by time, then by order of scheduling. */
export class EventHeap {
  #items: { at: number; seq: number; run: () => void }[] = []
  #seq = 0
  now = 0

  schedule(delay: number, run: () => void): void {
    const item = { at: this.now + delay, seq: this.#seq++, run }
    const a = this.#items
    let i = a.push(item) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      const p = a[parent] as typeof item
      if (p.at < item.at || (p.at === item.at && p.seq < item.seq)) break
      a[i] = p
      i = parent
    }
    a[i] = item
  }

  /** Runs everything up to `end`. */
  runUntil(end: number, stop: () => boolean = () => false): void {
    for (let top = this.#items[0]; top && top.at <= end && !stop(); top = this.#items[0]) {
      this.#pop()
      this.now = top.at
      top.run()
    }
    if (!stop()) this.now = end
  }

  #pop(): void {
    const a = this.#items
    const last = a.pop()
    if (!last || a.length === 0) return
    const before = (x: typeof last, y: typeof last) => x.at < y.at || (x.at === y.at && x.seq < y.seq)
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= a.length) break
      if (child + 1 < a.length && before(a[child + 1] as typeof last, a[child] as typeof last)) child++
      if (!before(a[child] as typeof last, last)) break
      a[i] = a[child] as typeof last
      i = child
    }
    a[i] = last
  }
}
