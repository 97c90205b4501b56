import { styleText } from 'node:util'

/** Where a verb reads and writes. Data goes to stdout, messages to stderr, so that pipes carry data alone. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stdin: NodeJS.ReadStream
  /** A person can be asked: stdin and stderr are terminals. */
  readonly interactive: boolean
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly paint: (style: Style, text: string) => string
}

export type Style = 'green' | 'red' | 'yellow' | 'cyan' | 'dim' | 'bold'

export function processTerminal(): Terminal {
  const { stdout, stderr, stdin, env } = process
  const colour = wantsColour(stdout.isTTY, env)
  return {
    env,
    cwd: process.cwd(),
    stdin,
    interactive: Boolean(stdin.isTTY && stderr.isTTY),
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    paint: (style, text) => (colour ? styleText(style, text, { validateStream: false }) : text),
  }
}

/** https://no-color.org: any non-empty value switches colour off. */
export const wantsColour = (isTerminal: boolean | undefined, env: Terminal['env']): boolean =>
  Boolean(isTerminal) && !env.NO_COLOR && env.TERM !== 'dumb'
