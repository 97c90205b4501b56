import type { TarEntry } from './tar.ts'

/** What never belongs to an experiment's code and is often huge. */
export const leftOut = [
  '.git',
  'node_modules',
  '__pycache__',
  '.venv',
  '.ipynb_checkpoints',
  '.mypy_cache',
] as const

export interface PickedFolder {
  readonly name: string
  readonly entries: readonly TarEntry[]
  readonly bytes: number
  readonly skipped: number
}

interface PickedFile extends Blob {
  readonly name: string
  readonly lastModified: number
  readonly webkitRelativePath: string
}

/** The files of a picked folder, by their paths inside it; of single files, by their names. */
export function folderOf(files: readonly PickedFile[]): PickedFolder | undefined {
  if (!files.length) return undefined
  const entries: TarEntry[] = []
  let skipped = 0
  let name = ''
  for (const file of files) {
    const parts = file.webkitRelativePath ? file.webkitRelativePath.split('/') : ['', file.name]
    name ||= parts[0] ?? ''
    const inside = parts.slice(1)
    if (inside.some((part) => (leftOut as readonly string[]).includes(part))) skipped++
    else entries.push({ path: inside.join('/'), file, modified: file.lastModified })
  }
  entries.sort((a, b) => (a.path < b.path ? -1 : 1))
  return {
    name: name || (entries.length === 1 ? (entries[0]?.path ?? '') : `${entries.length} files`),
    entries,
    bytes: entries.reduce((sum, { file }) => sum + file.size, 0),
    skipped,
  }
}
