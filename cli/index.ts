import { CommanderError } from 'commander'
import manifest from '../package.json' with { type: 'json' }
import { describeFailure, exitCode, exitCodeOf } from './failure.ts'
import { becomeLean } from './lean.ts'
import { loadAgent } from './load-agent.ts'
import { createProgram } from './program.ts'
import { processTerminal } from './terminal.ts'

// `submarine … | head` closes stdout early: that is the reader's wish, not a failure.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? exitCode.ok : exitCode.failure)
  })

const terminal = processTerminal()
const startsAgent = process.argv[2] === 'agent' && ['start', 'init', 'join'].includes(process.argv[3] ?? '')
if (startsAgent) becomeLean()

try {
  await createProgram({ terminal, loadAgent }, manifest.version).parseAsync()
} catch (error) {
  if (error instanceof CommanderError)
    // Commander has printed its message already; help and version are no errors.
    process.exitCode = error.exitCode === 0 ? exitCode.ok : exitCode.usage
  else {
    terminal.err(describeFailure(error))
    process.exitCode = exitCodeOf(error)
  }
}
