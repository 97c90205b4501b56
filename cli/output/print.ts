import { stringify } from 'yaml'
import type { Terminal } from '../terminal.ts'

export const formats = ['table', 'json', 'yaml'] as const
export type Format = (typeof formats)[number]

/** One value in the asked form: JSON and YAML are the API's own objects, the table is for people. */
export function print(terminal: Terminal, format: Format, value: unknown, asTable: () => string): void {
  if (format === 'json') terminal.out(JSON.stringify(value, null, 2) + '\n')
  else if (format === 'yaml') terminal.out(stringify(value))
  else terminal.out(asTable())
}

/** One item of an endless list: a JSON line, a YAML document, or a line of text. */
export function printItem(terminal: Terminal, format: Format, value: unknown, asLine: () => string): void {
  if (format === 'json') terminal.out(JSON.stringify(value) + '\n')
  else if (format === 'yaml') terminal.out(`---\n${stringify(value)}`)
  else terminal.out(asLine())
}
