import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { Exit, exitCode, UsageError } from './failure.ts'
import type { Terminal } from './terminal.ts'

/** The first line of stdin. */
export const readLine = async (terminal: Terminal): Promise<string> => (await readLines(terminal, 1))[0]

/** The first lines of stdin, so many. */
export async function readLines<N extends 1 | 2>(
  terminal: Terminal,
  count: N,
): Promise<N extends 1 ? [string] : [string, string]> {
  const lines = createInterface({ input: terminal.stdin, terminal: false })
  const read: string[] = []
  for await (const line of lines) {
    if (read.push(line) < count) continue
    lines.close()
    return read as N extends 1 ? [string] : [string, string]
  }
  throw new UsageError(read.length === 0 ? 'stdin is empty' : `stdin has one line, and ${count} are expected`)
}

export async function confirm(terminal: Terminal, question: string): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(terminal, `${question} [y/N] `, false))
}

/** Asked on a terminal unless `yes` is given; without a terminal `yes` must be. Throws when it is not meant. */
export async function agree(
  terminal: Terminal,
  verb: string,
  { yes, question }: { yes: boolean | undefined; question: () => Promise<boolean> },
): Promise<void> {
  if (yes) return
  if (!terminal.interactive) throw notAsked(verb)
  if (!(await question())) throw new Exit(exitCode.failure, 'Nothing was changed.')
}

/** A verb that asks has nobody to ask. */
export const notAsked = (verb: string): UsageError =>
  new UsageError(`${verb} asks before it acts, and there is no terminal`, 'Give --yes if it is meant.')

/** What was typed must be exactly this. */
export const confirmByTyping = async (
  terminal: Terminal,
  question: string,
  expected: string,
): Promise<boolean> => (await ask(terminal, `${question} `, false)).trim() === expected

export const askPassword = (terminal: Terminal, question: string): Promise<string> =>
  ask(terminal, question, true)

/** Questions go to stderr: stdout belongs to data. What is typed in secret is not echoed. */
async function ask(terminal: Terminal, question: string, secret: boolean): Promise<string> {
  // readline redraws the line it asks on; where nothing is echoed, the question must stand before it.
  if (secret) terminal.err(question)
  const echo = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (!secret) terminal.err(chunk.toString())
      done()
    },
  })
  const lines = createInterface({ input: terminal.stdin, output: echo, terminal: true })
  try {
    const interrupted = new Promise<never>((_, reject) =>
      lines.once('SIGINT', () => reject(new Exit(exitCode.interrupted))),
    )
    return await Promise.race([lines.question(secret ? '' : question), interrupted])
  } finally {
    lines.close()
    if (secret) terminal.err('\n')
  }
}
