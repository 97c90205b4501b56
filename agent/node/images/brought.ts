import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { readJson, writeJson } from '../files.ts'

const Kept = z.record(z.string(), z.enum(['cluster', 'registry']))

/** Which of the engine's images this agent brought there: it may remove those, and no others. */
export class Brought {
  readonly #file: string
  #known: Record<string, 'cluster' | 'registry'>
  #writing: Promise<void> = Promise.resolve()

  private constructor(file: string, known: Record<string, 'cluster' | 'registry'>) {
    this.#file = file
    this.#known = known
  }

  static async open(folder: string): Promise<Brought> {
    const file = path.join(folder, 'images.json')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Without its notes it removes nothing, which is safe.
    const parsed = Kept.safeParse(await readJson(file).catch(() => undefined))
    return new Brought(file, parsed.success ? parsed.data : {})
  }

  of(id: string): 'cluster' | 'registry' | null {
    return this.#known[id] ?? null
  }

  add(id: string, from: 'cluster' | 'registry'): Promise<void> {
    if (this.#known[id] === from) return this.#writing
    this.#known = { ...this.#known, [id]: from }
    return this.#write()
  }

  /** Forget those that are gone: somebody may bring the same image again himself. */
  async keepOnly(ids: ReadonlySet<string>): Promise<void> {
    const left = Object.entries(this.#known).filter(([id]) => ids.has(id))
    if (left.length === Object.keys(this.#known).length) return
    this.#known = Object.fromEntries(left)
    await this.#write()
  }

  #write(): Promise<void> {
    this.#writing = this.#writing.catch(() => undefined).then(() => writeJson(this.#file, this.#known))
    return this.#writing
  }
}
