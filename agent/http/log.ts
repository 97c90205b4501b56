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
  }
  if (destination) return pino(options, destination)
  if (!process.stdout.isTTY) return pino(options)
  const colours = !process.env['NO_COLOR']
  return pino(options, { write: (line: string) => void process.stdout.write(readable(line, colours)) })
}
