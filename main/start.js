// `npm run desktop`: builds the app and opens it in Electron. Plain JavaScript that Node 18 can start.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { findElectron, howToGetElectron } from './electron-binary.js'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const node24 = path.join(root, 'cli/node24.js')

/** Runs a tool on the pinned Node; ends with it if it fails. */
function run(...args) {
  const { status } = spawnSync(process.execPath, [node24, ...args], { cwd: root, stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

run('main/build.js')
if (!existsSync(path.join(root, 'renderer/dist/index.html')))
  run('vite', 'build', '--config', 'renderer/vite.config.ts')

const electron = findElectron(process.env, path.join(root, 'node_modules'))
if (!electron) {
  console.error(howToGetElectron)
  process.exit(1)
}
const child = spawn(electron, [root, ...process.argv.slice(2)], { stdio: 'inherit' })
child.on('error', (error) => {
  console.error(`Electron did not start: ${error.message}`)
  process.exit(1)
})
child.on('exit', (code) => process.exit(code ?? 1))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
