import type { Usage } from '../../../contract/index.ts'

/** One image on its way into the engine. */
export interface Pull {
  /** Bytes so far, and of all layers known so far. */
  report(bytes: number, total: number | null): void
  end(): void
}

/** What the engine is getting just now: live figures that travel with the heartbeat, never through the log. */
export class Pulls {
  readonly #running = new Map<string, { bytes: number; total: number | null }>()

  begin(image: string): Pull {
    const figures = { bytes: 0, total: null as number | null }
    this.#running.set(image, figures)
    return {
      report: (bytes, total) => Object.assign(figures, { bytes, total }),
      end: () => {
        if (this.#running.get(image) === figures) this.#running.delete(image)
      },
    }
  }

  list(): NonNullable<Usage['pulls']> {
    return [...this.#running].map(([image, figures]) => ({ image, ...figures }))
  }
}
