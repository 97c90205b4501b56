import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

/** Asks a vendor's program; its output, or undefined when the host has no such program. Throws when it fails or hangs. */
export async function ask(
  program: string,
  words: readonly string[],
  timeoutMs = 20_000,
): Promise<string | undefined> {
  // Finding out by starting it would cost a fork of this process, each time.
  if (!(await isThere(program))) return undefined
  try {
    const { stdout } = await promisify(execFile)(program, words, {
      // A broken GPU can make it hang for minutes.
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: 64 * 1024 * 1024,
    })
    return stdout
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(whatFailed(program, error as Failed, timeoutMs), { cause: error })
  }
}

async function isThere(program: string): Promise<boolean> {
  const folders = program.includes('/') ? [''] : (process.env['PATH'] ?? '').split(':')
  const found = await Promise.all(
    folders.map((folder) =>
      access(path.join(folder, program), constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  )
  return found.includes(true)
}

interface Failed extends Error {
  readonly killed?: boolean
  readonly code?: number | string
  readonly stderr?: string
  readonly stdout?: string
}

function whatFailed(program: string, { killed, code, stderr, stdout, message }: Failed, ms: number): string {
  if (killed) return `${program} did not answer within ${ms / 1000} s`
  const said = (stderr?.trim() || stdout?.trim() || message).split('\n')[0] ?? ''
  return `${program} failed${typeof code === 'number' ? ` with exit code ${code}` : ''}: ${said.slice(0, 300)}`
}
