// What the tests need of the machine, installed where that is asked for. Plain JavaScript that Node 18 can run.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Installs what the tests need of the machine, where that is asked for and possible. */
export function installCommands(asked) {
  if (!asked && process.env.CI !== 'true') return
  const hindrance = isDebian() ? (process.getuid() === 0 ? undefined : 'not root') : 'not Debian'
  if (hindrance === undefined)
    return runOrFail('bash', [path.join(path.dirname(fileURLToPath(import.meta.url)), 'debian.sh')])
  const message = `What the tests need can be installed only as root on Debian; this is ${hindrance}.`
  if (asked) throw new Error(message)
  // Tests that then lack something say what, and fail the run.
  return console.log(message)
}

function isDebian() {
  return existsSync('/etc/os-release') && /^ID="?debian"?$/m.test(readFileSync('/etc/os-release', 'utf8'))
}

/** Runs a command in our terminal. */
export function runOrFail(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
  if (status !== 0) throw new Error(`${path.basename(args[0])} failed${error ? `: ${error.message}` : ''}.`)
}
