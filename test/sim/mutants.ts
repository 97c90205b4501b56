import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { applyPatch, parseMutation, type Mutation } from './mutation.ts'
import { runSeeds } from './pool.ts'

const root = path.resolve(import.meta.dirname, '../..')
const folder = path.join(import.meta.dirname, 'mutations')
/** What a simulation consists of. */
const sources = ['raft', 'test/sim', 'test/history']

export async function readMutations(): Promise<Mutation[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.patch')).sort()
  const read = async (name: string) =>
    parseMutation(name.slice(0, -'.patch'.length), await readFile(path.join(folder, name), 'utf8'))
  return Promise.all(names.map(read))
}

/** The texts of the files that a mutation changes, by path. Throws where it does not apply. */
export async function mutate(m: Mutation): Promise<Map<string, string>> {
  const changed = new Map<string, string>()
  for (const file of m.files)
    changed.set(file.path, applyPatch(m.name, file, await readFile(path.join(root, file.path), 'utf8')))
  return changed
}

/** Runs f on a copy of the sources that has the bug. */
async function withMutant<T>(m: Mutation, f: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(path.join(tmpdir(), `mutant-${m.name}-`))
  try {
    for (const source of sources)
      await cp(path.join(root, source), path.join(dir, source), {
        recursive: true,
        filter: (name) => !/\.(test\.ts|patch|md)$/.test(name),
      })
    await symlink(path.join(root, 'node_modules'), path.join(dir, 'node_modules'))
    await writeFile(path.join(dir, 'package.json'), '{ "type": "module" }')
    for (const [name, text] of await mutate(m)) {
      await mkdir(path.dirname(path.join(dir, name)), { recursive: true })
      await writeFile(path.join(dir, name), text)
    }
    return await f(dir)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

export interface Hunted {
  readonly mutation: Mutation
  /** The seed that showed the bug; undefined: none did. */
  readonly seed: number | undefined
  readonly seeds: number
  readonly violation: string | undefined
}

/** Simulates the mutant until a seed shows the bug. One thread, so that the seed that does is always the same. */
export function hunt(mutation: Mutation, seeds: number): Promise<Hunted> {
  return withMutant(mutation, async (dir) => {
    let found: { seed: number; violation: string } | undefined
    await runSeeds(
      Array.from({ length: seeds }, (_, i) => i + 1),
      {
        workers: 1,
        worker: pathToFileURL(path.join(dir, 'test/sim/worker.ts')),
        onResult: ({ seed, violation }) => {
          if (violation !== undefined) found = { seed, violation }
          return found !== undefined
        },
      },
    )
    return { mutation, seeds, seed: found?.seed, violation: found?.violation }
  })
}

/** Hunts several at a time; `onResult` comes in their order. */
export async function huntAll(
  mutations: readonly Mutation[],
  o: { seeds: number; workers: number; onResult: (h: Hunted) => void },
): Promise<Hunted[]> {
  const slots = mutations.map(() => Promise.withResolvers<Hunted>())
  // A failure is told when its turn comes.
  for (const { promise } of slots) promise.catch(() => {})
  const waiting = mutations.entries()
  const worker = async () => {
    for (const [i, m] of waiting) await hunt(m, o.seeds).then(slots[i]?.resolve, slots[i]?.reject)
  }
  void Promise.all(Array.from({ length: o.workers }, worker))
  const all: Hunted[] = []
  for (const { promise } of slots) {
    const h = await promise
    o.onResult(h)
    all.push(h)
  }
  return all
}
