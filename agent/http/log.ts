import { type DestinationStream, type Logger, pino } from 'pino'
import { readable } from './log-lines.ts'

const secrets = [
  'authorization',
  'cookie',
  '["set-cookie"]',
  'token',
  'password',
  'secret',
  'headers.authorization',
  'headers.cookie',
  'headers["set-cookie"]',
  'req.headers.authorization',
  'req.headers.cookie',
  'res.headers["set-cookie"]',
]

/** Wherever in a line they stand, in the message of some error too: our tokens, and passwords in addresses. */
const hideCredentials = (line: string): string =>
  line.replaceAll(/sdc_[\w-]+/g, 'sdc_[secret]').replaceAll(/:\/\/[^\s/"@]+@/g, '://[secret]@')

/** What a query asks for by name; whoever puts a password or a code there has it kept nowhere. */
function withoutValues(url: unknown): unknown {
  if (typeof url !== 'string' || !url.includes('?')) return url
  const [path = '', query = ''] = url.split(/\?(.*)/s, 2)
  const names = query.split('&').map((part) => part.split('=', 1)[0])
  return `${path}?${names.join('&')}`
}

/**
 * The agent's log, in which no credential can stand: one JSON object a line, as docs/monitoring.md has it; on a terminal,
 * lines for people.
 */
export function createLog(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secrets, censor: '[secret]' },
    serializers: { url: withoutValues },
    hooks: { streamWrite: hideCredentials },
  }
  if (destination) return pino(options, destination)
  if (!process.stdout.isTTY) return pino(options)
  const colours = !process.env['NO_COLOR']
  return pino(options, { write: (line: string) => void process.stdout.write(readable(line, colours)) })
}
