// `npm test`: sets up what it needs and runs the tests. Plain JavaScript that Node 18 can run.
//
//   npm test                    unit tests, and those with others' programs beside ours (etcd, Prometheus, slapd …)
//   npm test -- --setup         the same, after installing what the tests need (Debian, as root; also if CI=true)
//   npm test -- raft            only files with "raft" in their path; other arguments go to Vitest as well
//   npm run test:system         tests with real engines, browsers and processes
//   npm run smoke:electron      the console's journeys in Electron, where its binary is
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureInstalled } from '../cli/install.js'
import { become, findNode, findScript, orFail } from '../cli/node24.js'
import { installCommands, runOrFail } from './setup/commands.js'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const ours = ['--setup', '--system', '--electron']

orFail(() => {
  const flags = new Set(process.argv.slice(2).filter((arg) => ours.includes(arg)))
  const rest = process.argv.slice(2).filter((arg) => !ours.includes(arg))
  process.chdir(root)
  installCommands(flags.has('--setup'))
  ensureInstalled()
  if (flags.has('--electron') && !hasElectron()) {
    console.log(
      'not run: no Electron binary (to have it: "node node_modules/electron/install.js", from github.com)',
    )
    console.log('\n0 passed, 0 failed, 1 skipped')
    return
  }
  const projects = flags.has('--electron')
    ? ['electron']
    : flags.has('--system')
      ? ['system']
      : ['unit', 'peers']
  if (!projects.includes('unit')) buildConsole()
  become(findScript('vitest'), ['run', ...projects.flatMap((name) => ['--project', name]), ...rest])
})

/** Electron's package notes here what it fetched. */
function hasElectron() {
  return (
    !!process.env.ELECTRON_OVERRIDE_DIST_PATH || existsSync(path.join(root, 'node_modules/electron/path.txt'))
  )
}

/** The agents of system tests serve the console as it is built. */
function buildConsole() {
  const config = path.join(root, 'renderer/vite.config.ts')
  if (!existsSync(config)) return
  runOrFail(findNode(), [findScript('vite'), 'build', '--config', config, '--logLevel', 'warn'])
}
