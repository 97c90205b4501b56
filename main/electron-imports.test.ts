import { glob, readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'

/** In plain Node, a value imported from electron starts a download and throws. */
it('values of electron are imported in main/electron/ alone, by short files without branches', async () => {
  const importing: string[] = []
  for await (const name of glob('**/*.{ts,js}', { cwd: import.meta.dirname, exclude: ['out'] })) {
    const code = await readFile(path.join(import.meta.dirname, name), 'utf8')
    if (!/^import (?!type\b)[^'"]*['"]electron['"]/m.test(code)) continue
    importing.push(path.dirname(name))
    expect(code.split('\n').length, name).toBeLessThan(60)
    expect(code, name).not.toMatch(/\b(if|switch|for|while)\b ?\(|\?\s|&&|\|\|/)
  }
  expect(new Set(importing)).toEqual(new Set(['electron']))
})
