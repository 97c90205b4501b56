import { StoreError } from './store.ts'

/**
 * Lets storage work through until the first error, and never again: after one failed write LevelDB may acknowledge
 * later ones that are lost on reopen.
 */
export class StorageGuard {
  readonly #where: string
  #failed: StoreError | undefined

  constructor(where: string) {
    this.#where = where
  }

  check(): void {
    if (this.#failed) throw this.#failed
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    this.check()
    try {
      return await work()
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause)
      const error =
        cause instanceof StoreError
          ? cause
          : new StoreError('io', `${this.#where}: storage failed: ${what}`, { cause })
      this.#failed ??= error
      throw error
    }
  }

  close(): void {
    this.#failed ??= new StoreError('closed', 'the store is closed')
  }
}
