// Brings node_modules up to package-lock.json when it is missing or behind. Plain JavaScript for Node 18.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** The first package that node_modules lacks or has in another version; undefined if it is up to date. */
export function firstStale(lock, installed) {
  for (const [place, { version, optional }] of Object.entries(lock.packages)) {
    if (place === '') continue
    const present = installed?.packages[place]
    // Optional packages of other platforms are rightly absent.
    if (present ? present.version !== version : !optional) return place
  }
  return undefined
}

/** Runs `npm ci` if it is needed, saying so. Throws where it fails. */
export function ensureInstalled() {
  const stale = firstStale(readJson('package-lock.json'), readJson('node_modules/.package-lock.json'))
  if (stale === undefined) return
  console.error(`Installing packages (npm ci), because ${stale} is missing or outdated …`)
  const started = Date.now()
  // The npm that called us, if one did: there may be no other on the PATH.
  const npm = process.env.npm_execpath
  const [command, args] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []]
  const { status, error } = spawnSync(command, [...args, 'ci', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
    // npm is a .cmd file on Windows, which only a shell can start.
    shell: command === 'npm' && process.platform === 'win32',
  })
  if (status !== 0) throw new Error(`npm ci failed${error ? `: ${error.message}` : ''}. See the lines above.`)
  console.error(`Packages installed in ${((Date.now() - started) / 1000).toFixed(1)} s.`)
}

function readJson(file) {
  const full = path.join(root, file)
  return existsSync(full) ? JSON.parse(readFileSync(full, 'utf8')) : undefined
}
