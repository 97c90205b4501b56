import { builtinModules } from 'node:module'
import path from 'node:path'
import { build, type Plugin } from 'vite'

const here = import.meta.dirname
const root = path.resolve(here, '../..')
const modules = path.join(root, 'node_modules')

/** Modules that find their files by where they stand, and what takes their place in the bundle. */
const replaced: Readonly<Record<string, string>> = {
  'agent/shipped-files.ts': 'shipped-files.ts',
  'cli/load-agent.ts': 'load-agent.ts',
}

/** LevelDB's binding lies beside the code under one name, whatever the architecture. */
const levelBinding = `module.exports = require('node:module').createRequire(__filename)('./classic-level.node')`
/** Other bindings are accelerators of packages that go on without: which of them were compiled here must not show. */
const noBinding = `throw new Error('not part of the bundle')`

function inBundle(): Plugin {
  return {
    name: 'agent-bundle',
    enforce: 'pre',
    async resolveId(source, importer) {
      if (source.endsWith('.node')) return '\0no-binding'
      if (!source.startsWith('.') || !importer) return null
      const found = path.relative(root, path.resolve(path.dirname(importer), source))
      const instead = replaced[found]
      return instead === undefined ? null : path.join(here, 'in-bundle', instead)
    },
    load(id) {
      if (id === '\0no-binding') return noBinding
      return id.endsWith('/classic-level/binding.js') ? levelBinding : null
    },
  }
}

/** Bundles one entry with all it needs but Node itself; returns the packages whose code went in. */
async function bundle(
  name: string,
  entry: string,
  outDir: string,
  codeSplitting: boolean,
): Promise<Set<string>> {
  const result = await build({
    configFile: false,
    root,
    publicDir: false,
    logLevel: 'error',
    plugins: [inBundle()],
    ssr: { noExternal: true },
    define: { __dirname: 'import.meta.dirname', __filename: 'import.meta.filename' },
    build: {
      ssr: true,
      outDir,
      emptyOutDir: false,
      target: 'node24',
      minify: false,
      rolldownOptions: {
        input: { [name]: path.join(root, entry) },
        external: [...builtinModules, ...builtinModules.map((one) => `node:${one}`)],
        output: { entryFileNames: '[name].js', chunkFileNames: '[name].js', codeSplitting },
      },
    },
  })
  return packagesIn(result)
}

/** The packages whose modules a build took in. */
export function packagesIn(result: Awaited<ReturnType<typeof build>>): Set<string> {
  const names = new Set<string>()
  for (const one of Array.isArray(result) ? result : [result]) {
    if (!('output' in one)) continue
    for (const file of one.output)
      for (const id of file.type === 'chunk' ? file.moduleIds : []) {
        const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1]
        if (name) names.add(name)
      }
  }
  return names
}

/** The command line with the agent, and the two programs that outlive an agent, each whole in one file. */
export async function bundleCode(outDir: string): Promise<Set<string>> {
  const cli = await bundle('submarine', 'cli/index.ts', outDir, true)
  const shim = await bundle('shim', 'agent/node/process/shim.ts', outDir, false)
  const keeper = await bundle('keeper', 'agent/node/lease/keeper.ts', outDir, false)
  return cli.union(shim).union(keeper)
}

/** The console as any agent serves it. */
export async function bundleConsole(outDir: string): Promise<Set<string>> {
  const config = path.join(root, 'renderer/vite.config.ts')
  const result = await build({ configFile: config, logLevel: 'error', build: { outDir, emptyOutDir: true } })
  const fonts = ['@fontsource-variable/inter', '@fontsource-variable/jetbrains-mono']
  return packagesIn(result).union(new Set(fonts))
}

export { modules, root }
