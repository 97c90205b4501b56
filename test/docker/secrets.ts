// How the test of secrets looks for what must not be there.
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { findNode } from '../../cli/node24.js'

const entry = fileURLToPath(new URL('../../cli/index.ts', import.meta.url))

/** The submarine command as a person uses it; `input` is what they type. */
export function submarine(config: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, SUBMARINE_CONFIG: config, NO_COLOR: '1' }
    const child = execFile(findNode(), [entry, ...args], { env }, (error, out, err) =>
      error ? reject(new Error(`${args.join(' ')}: ${err}`, { cause: error })) : resolve(out + err),
    )
    child.stdin?.end(`${input}\n`)
  })
}

/** A text as files may hold it: as it is, and in base64 at each of the three places where it may begin. */
export function formsOf(text: string): Buffer[] {
  const shifted = [0, 1, 2].map((shift) => {
    const encoded = Buffer.from(' '.repeat(shift) + text).toString('base64url')
    // The letters at both ends depend on what stands beside it.
    return Buffer.from(encoded.slice(shift === 0 ? 0 : 4, -4))
  })
  return [Buffer.from(text), ...shifted]
}

/** The files below a folder that hold the text. */
export async function filesWith(folder: string, text: string): Promise<string[]> {
  const forms = formsOf(text)
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath, entry.name)
    // Agents go on writing, and remove what they need no more.
    const bytes = await readFile(file).catch(() => Buffer.alloc(0))
    if (forms.some((form) => bytes.includes(form))) found.push(file)
  }
  return found
}
