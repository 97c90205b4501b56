// Finds Electron's binary without importing `electron`, which would start a download when there is none.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const names = { win32: 'electron.exe', darwin: 'Electron.app/Contents/MacOS/Electron' }

/** Path of the binary: ELECTRON_OVERRIDE_DIST_PATH first, then the installed package; undefined if there is none. */
export function findElectron(env, modules, platform = process.platform) {
  const folder = path.join(modules, 'electron')
  const pathFile = path.join(folder, 'path.txt')
  const name = existsSync(pathFile) ? readFileSync(pathFile, 'utf8').trim() : (names[platform] ?? 'electron')
  const binary = path.join(env.ELECTRON_OVERRIDE_DIST_PATH || path.join(folder, 'dist'), name)
  return existsSync(binary) ? binary : undefined
}

export const howToGetElectron = `Electron's program is not here. It is not part of the npm package; get it in one of these ways:
  npx install-electron              downloads it from GitHub into node_modules/electron/dist
  ELECTRON_OVERRIDE_DIST_PATH=DIR   use an unpacked Electron (electron-v*-linux-x64.zip of its releases) in DIR
The same console opens in a browser at the address of any agent; nothing else needs Electron.`
