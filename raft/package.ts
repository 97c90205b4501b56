import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { create } from 'tar'
import ts from 'typescript'

const here = import.meta.dirname
const root = path.dirname(here)

interface RootManifest {
  readonly version: string
  readonly license: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

const COMPILER: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2024,
  lib: ['lib.esnext.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  erasableSyntaxOnly: true,
  rewriteRelativeImportExtensions: true,
  declaration: true,
  skipLibCheck: true,
  newLine: ts.NewLineKind.LineFeed,
  rootDir: here,
}

/**
 * Makes `submarine-raft-VERSION.tgz` in `outDir` and returns its path. What index.ts reaches goes in, so neither tests
 * nor what they stand on do. The same source gives the same bytes.
 */
export async function packageRaft(outDir: string): Promise<string> {
  const { version, license, dependencies, devDependencies } = JSON.parse(
    await readFile(path.join(root, 'package.json'), 'utf8'),
  ) as RootManifest
  const manifest = {
    name: 'submarine-raft',
    version,
    description: 'Raft as a library: a pure core, a driver with group commit, and a log store on LevelDB.',
    license,
    keywords: ['raft', 'consensus', 'replication', 'linearizable', 'leveldb'],
    type: 'module',
    sideEffects: false,
    exports: {
      '.': { types: './lib/index.d.ts', default: './lib/index.js' },
      './package.json': './package.json',
    },
    types: './lib/index.d.ts',
    engines: { node: '>=24' },
    dependencies: { level: dependencies['level'] },
    // The declarations name Node's Buffer and streams; plain JavaScript does without.
    peerDependencies: { '@types/node': `>=${devDependencies['@types/node']?.split('.')[0]}` },
    peerDependenciesMeta: { '@types/node': { optional: true } },
  }
  const staging = path.join(outDir, 'submarine-raft')
  await rm(staging, { recursive: true, force: true })
  await mkdir(path.join(staging, 'package'), { recursive: true })
  compile(path.join(staging, 'package/lib'))
  await writeFile(path.join(staging, 'package/package.json'), JSON.stringify(manifest, null, 2) + '\n')
  await cp(path.join(here, 'README.md'), path.join(staging, 'package/README.md'))
  await cp(path.join(root, 'LICENSE'), path.join(staging, 'package/LICENSE'))
  const file = path.join(outDir, `submarine-raft-${version}.tgz`)
  await pack(staging, file)
  await rm(staging, { recursive: true })
  return file
}

/** By TypeScript itself: types go, imports end in `.js`, everything else stays as it was written. */
function compile(outDir: string): void {
  const program = ts.createProgram([path.join(here, 'index.ts')], { ...COMPILER, outDir })
  const { diagnostics, emitSkipped } = program.emit()
  const errors = [...ts.getPreEmitDiagnostics(program), ...diagnostics]
  if (errors.length === 0 && !emitSkipped) return
  const text = ts.formatDiagnostics(errors, {
    getCanonicalFileName: (name) => name,
    getCurrentDirectory: () => root,
    getNewLine: () => '\n',
  })
  throw new Error(`raft/ does not compile as a package:\n${text}`)
}

/** Names in order; no owner, time or mode of this machine. */
async function pack(staging: string, file: string): Promise<void> {
  const names = ts.sys.readDirectory(path.join(staging, 'package')).sort()
  await create(
    {
      file,
      cwd: staging,
      gzip: { level: 9 },
      portable: true,
      noDirRecurse: true,
      mtime: new Date('1985-10-26T08:15:00Z'),
      onWriteEntry: (entry) => {
        if (entry.stat) entry.stat.mode = 0o100644
      },
    },
    names.map((name) => path.relative(staging, name)),
  )
}

if (import.meta.main) {
  const file = await packageRaft(path.join(root, 'dist'))
  console.log(path.relative(process.cwd(), file))
}
