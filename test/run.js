// Runs one of the long commands (npm run sim, chaos, bench …) on the pinned Node, after its set-up: npm packages, and
// with --setup or CI=true, as root on Debian, what the tests need of the machine. Plain JavaScript that Node 18 can run.
import { ensureInstalled } from '../cli/install.js'
import { become, orFail } from '../cli/node24.js'
import { installCommands } from './setup/commands.js'

orFail(() => {
  const [file, ...args] = process.argv.slice(2)
  if (!file) throw new Error('Usage: node test/run.js FILE [--setup] [args…]')
  installCommands(args.includes('--setup'))
  ensureInstalled()
  become(
    file,
    args.filter((arg) => arg !== '--setup'),
  )
})
