import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Plugin } from 'vite'
import { z } from 'zod'

/** A package that is shipped. */
export interface Dependency {
  readonly name: string
  readonly version: string
  readonly licence: string
}

const Locked = z.object({
  version: z.string().optional(),
  license: z.string().optional(),
  dev: z.boolean().default(false),
  link: z.boolean().default(false),
})
const Lockfile = z.object({ packages: z.record(z.string(), Locked) })
const Manifest = z.object({
  license: z.string().optional(),
  licenses: z.array(z.object({ type: z.string() })).optional(),
})

const folder = 'node_modules/'

/** The package that a file or folder of `node_modules` belongs to, as the lockfile names it; undefined for our own. */
export function packageOf(file: string): string | undefined {
  const inside = /^.*?(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)/.exec(
    file.replaceAll('\\', '/'),
  )
  return inside?.[1]
}

/** What the lockfile has beyond tools, and of those what `bundled` names: they are in the console's script. */
export function dependenciesOf(root: string, bundled: ReadonlySet<string> = new Set()): Dependency[] {
  const text = readFileSync(path.join(root, 'package-lock.json'), 'utf8')
  const { packages } = Lockfile.parse(JSON.parse(text))
  const shipped = Object.entries(packages).filter(
    ([at, { dev, link }]) => at.startsWith(folder) && !link && (!dev || bundled.has(at)),
  )
  const found = shipped.map(([at, { version = '', license }]) => ({
    name: at.slice(at.lastIndexOf(folder) + folder.length),
    version,
    licence: license ?? licenceIn(path.join(root, at)) ?? 'not stated',
  }))
  const unique = new Map(found.map((one) => [`${one.name} ${one.version}`, one]))
  return [...unique.values()].sort(
    (a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version),
  )
}

/** As older packages state it, where the lockfile does not. */
function licenceIn(at: string): string | undefined {
  try {
    const { license, licenses } = Manifest.parse(
      JSON.parse(readFileSync(path.join(at, 'package.json'), 'utf8')),
    )
    return license ?? licenses?.map(({ type }) => type).join(' OR ')
  } catch {
    // One that this platform does not need is not installed.
    return undefined
  }
}

/** Writes `dependencies.json` beside the page: every shipped package with version and licence. */
export function dependencyList(root: string): Plugin {
  return {
    name: 'dependency-list',
    apply: 'build',
    generateBundle() {
      const bundled = new Set([...this.getModuleIds()].flatMap((id) => packageOf(id) ?? []))
      const source = JSON.stringify(dependenciesOf(root, bundled))
      this.emitFile({ type: 'asset', fileName: 'dependencies.json', source })
    },
  }
}
