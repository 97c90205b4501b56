/** One second hand for every age and duration on the page. */
class Clock {
  #now = $state(Date.now())

  constructor() {
    setInterval(() => (this.#now = Date.now()), 1000)
  }

  get now(): number {
    return this.#now
  }
}

export const clock = new Clock()
