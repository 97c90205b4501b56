import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type * as describe from '../../raft/describe.ts'
import type * as node from '../../raft/node.ts'
import type * as types from '../../raft/types.ts'

/** A line of the core to replace while loading it: how the search is shown to find what it should. */
export interface Edit {
  readonly file: string
  readonly from: string
  readonly to: string
}

export type Core = typeof node & typeof describe & typeof types

const raft = path.join(import.meta.dirname, '..', '..', 'raft')

/**
 * The real core, with private fields opened (`#x` is read as `$x`), because the search copies and compares whole
 * members. Must be called before anything else loads raft/, so it has a process of its own.
 */
export async function loadCore(edits: readonly Edit[] = []): Promise<Core> {
  for (const e of edits) checkEdit(e)
  registerHooks({
    load(url, context, nextLoad) {
      const file = url.startsWith('file:') ? fileURLToPath(url) : ''
      const loaded = nextLoad(url, context)
      if (path.dirname(file) !== raft) return loaded
      return { ...loaded, source: opened(path.basename(file), edits) }
    },
  })
  const load = (file: string): Promise<unknown> => import(pathToFileURL(path.join(raft, file)).href)
  const parts = await Promise.all(['node.ts', 'describe.ts', 'types.ts'].map(load))
  return Object.assign({}, ...parts) as Core
}

function checkEdit({ file, from }: Edit): void {
  const found = readFileSync(path.join(raft, file), 'utf8').split(from).length - 1
  if (found !== 1)
    throw new Error(`raft/${file} has ${found} places that read "${from}", there should be one`)
}

function opened(file: string, edits: readonly Edit[]): string {
  let text = readFileSync(path.join(raft, file), 'utf8')
  for (const e of edits) if (e.file === file) text = text.replace(e.from, () => e.to)
  return text.replace(/(?<![\w&'"`])#(?=[a-z])/g, '$$')
}
