import { fileURLToPath } from 'node:url'
import { Child } from '../child.ts'

const file = fileURLToPath(new URL('main.ts', import.meta.url))

/** The one load process, for as long as f runs. */
export async function withLoad<T>(f: (load: Child) => Promise<T>): Promise<T> {
  const load = new Child(file, {})
  try {
    return await f(load)
  } finally {
    await load.kill()
  }
}
