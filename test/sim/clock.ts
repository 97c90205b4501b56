interface Event {
  readonly at: number
  readonly seq: number
  readonly run: () => void
}

const before = (x: Event, y: Event) => x.at < y.at || (x.at === y.at && x.seq < y.seq)

/**
 * Lets every promise that can go on go on. Ticks run when no microtask is left, so between two events nothing is under
 * way but what waits for a later event, and the order of everything follows from the events' order.
 */
const settled = () => new Promise<void>((resolve) => process.nextTick(resolve))

/** Simulated milliseconds: events by time, then by order of scheduling. */
export class Clock {
  #items: Event[] = []
  #seq = 0
  now = 0
  events = 0

  schedule(delay: number, run: () => void): void {
    const item = { at: this.now + delay, seq: this.#seq++, run }
    const a = this.#items
    let i = a.push(item) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      const p = a[parent] as Event
      if (before(p, item)) break
      a[i] = p
      i = parent
    }
    a[i] = item
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.schedule(ms, resolve))
  }

  /** Runs events until `end`, or until there is a reason to stop. */
  async run(end: number, stop: () => boolean): Promise<void> {
    await settled()
    for (let top = this.#items[0]; top && top.at <= end && !stop(); top = this.#items[0]) {
      this.#pop()
      this.now = top.at
      this.events++
      top.run()
      await settled()
    }
    if (!stop()) this.now = end
  }

  #pop(): void {
    const a = this.#items
    const last = a.pop()
    if (!last || a.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= a.length) break
      if (child + 1 < a.length && before(a[child + 1] as Event, a[child] as Event)) child++
      if (!before(a[child] as Event, last)) break
      a[i] = a[child] as Event
      i = child
    }
    a[i] = last
  }
}
