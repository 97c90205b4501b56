// Bundles the desktop app into main/out: index.js for the main process, preload.cjs for the page's door to it.
import { cp, rm } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const here = path.dirname(fileURLToPath(import.meta.url))
const builtins = [...builtinModules, ...builtinModules.map((name) => `node:${name}`)]

/** One bundle of one entry with everything in it but Electron and Node itself. */
function bundle(entry, output, outDir) {
  return build({
    configFile: false,
    root: here,
    publicDir: false,
    logLevel: 'warn',
    ssr: { noExternal: true },
    build: {
      ssr: true,
      outDir,
      emptyOutDir: false,
      target: 'node24',
      minify: false,
      rolldownOptions: {
        input: path.join(here, entry),
        external: ['electron', ...builtins],
        output: { ...output, codeSplitting: false },
      },
    },
  })
}

/** Builds everything; tests build into a folder of their own. */
export async function buildDesktop(outDir = path.join(here, 'out')) {
  await rm(outDir, { recursive: true, force: true })
  await bundle('index.ts', { format: 'es', entryFileNames: 'index.js' }, outDir)
  // A sandboxed preload is loaded by `require`, and may require next to nothing: one CommonJS file.
  await bundle('electron/preload.ts', { format: 'cjs', entryFileNames: 'preload.cjs' }, outDir)
  await cp(path.join(here, 'connect'), path.join(outDir, 'connect'), { recursive: true })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildDesktop()
