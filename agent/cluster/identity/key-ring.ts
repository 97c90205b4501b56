import { envelopeKey, keyId, openEnvelope } from './envelope.ts'

/**
 * The cluster keys that this member has, the oldest first. Which one is in use is the replicated state's to say, so that
 * a key that was handed over and never came into use does no harm, and one that is used no more goes.
 */
export class KeyRing {
  #keys: readonly Buffer[]
  /** Off the disk, but good for what others still ask about the state of a moment ago. */
  #former: readonly Buffer[] = []
  readonly #inUse: () => string | undefined
  readonly #write: (keys: readonly Buffer[]) => Promise<void>
  /** The file is written once at a time. */
  #writing: Promise<void> = Promise.resolve()

  /** `inUse`: the key's id by this member's state, undefined before the first rotation. `write`: durably. */
  constructor(
    keys: readonly Buffer[],
    inUse: () => string | undefined,
    write: (keys: readonly Buffer[]) => Promise<void>,
  ) {
    this.#keys = keys
    this.#inUse = inUse
    this.#write = write
  }

  /** What to seal by. Undefined where the key in use is not, whatever others are. */
  readonly current = (): Buffer | undefined => {
    const id = this.#inUse()
    return id === undefined ? this.#keys[0] : this.#keys.find((key) => keyId(key) === id)
  }

  /** What a voter must have: the key in use, and those that may come into use. */
  all(): readonly Buffer[] {
    return this.#keys
  }

  /** Throws when none of the keys opens it. */
  open(sealed: string, context: string): string {
    const id = envelopeKey(sealed)
    const known = [...this.#keys, ...this.#former].filter((key) => id === undefined || keyId(key) === id)
    const keys = known.length > 0 ? known : [this.current()].filter((key) => key !== undefined)
    let failure: unknown = new Error('this agent has no cluster key')
    for (const key of keys)
      try {
        return openEnvelope(key, sealed, context)
      } catch (error) {
        failure = error
      }
    throw failure
  }

  /** On disk when it returns. */
  keep(keys: readonly Buffer[]): Promise<void> {
    return this.#change(() => {
      const fresh = keys.filter((key) => !this.#keys.some((known) => known.equals(key)))
      return [...this.#keys, ...fresh]
    })
  }

  /** Those from before the one in use; all voters had that before it came into use. */
  dropOld(): Promise<void> {
    return this.#change(() => {
      const key = this.current()
      return key === undefined ? this.#keys : this.#keys.slice(this.#keys.indexOf(key))
    })
  }

  #change(next: () => readonly Buffer[]): Promise<void> {
    const done = this.#writing.then(async () => {
      const keys = next()
      if (keys.length === this.#keys.length) return
      await this.#write(keys)
      this.#former = [...this.#former, ...this.#keys.filter((key) => !keys.includes(key))]
      this.#keys = keys
    })
    this.#writing = done.catch(() => undefined)
    return done
  }
}
