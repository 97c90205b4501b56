import { readFile, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { readLogFile } from './level-log-file.ts'
import { readManifest, type LiveFiles } from './level-manifest.ts'
import { tableDamage } from './level-table.ts'

/**
 * What is wrong with a LevelDB database that is not open, if anything. LevelDB answers a damaged record in its
 * write-ahead log or manifest by silently dropping the rest of the 32 KiB block, a damaged table by wrong values, a lost
 * log or CURRENT by an older or empty database, and offers no option against any of it through this binding. So its
 * files are looked at before it opens them. Tables can be checked where they are not compressed.
 */
export async function findLevelDamage(dir: string, o: { tables: boolean }): Promise<string | undefined> {
  const names = await readdir(dir)
  const current = names.includes('CURRENT') ? await readFile(path.join(dir, 'CURRENT'), 'utf8') : undefined
  if (current === undefined) return `${dir}: the file CURRENT is lost, and with it the database`
  const manifest = current.trim()
  if (!/^MANIFEST-\d+$/.test(manifest) || !names.includes(manifest))
    return `${dir}: the file CURRENT is damaged`
  const live = await readLive(path.join(dir, manifest))
  if (typeof live === 'string') return live
  const logs = names.filter((name) => name.endsWith('.log'))
  if (live.log !== undefined && !logs.some((name) => numberOf(name) === live.log))
    return `${dir}: the write-ahead log ${live.log} is lost`
  for (const name of logs) {
    const file = path.join(dir, name)
    const { damage } = readLogFile(await readFile(file))
    if (damage !== undefined) return `${file} is damaged at byte ${damage}`
  }
  for (const [number, size] of live.tables) {
    const name = names.find((n) => /\.(ldb|sst)$/.test(n) && numberOf(n) === number)
    if (name === undefined) return `${dir}: the table ${number} is lost`
    const file = path.join(dir, name)
    const damage = await tableFileDamage(file, size, o.tables)
    if (damage !== undefined) return `${file} is damaged: ${damage}`
  }
  return undefined
}

async function readLive(file: string): Promise<LiveFiles | string> {
  const { records, damage } = readLogFile(await readFile(file))
  if (damage !== undefined) return `${file} is damaged at byte ${damage}`
  try {
    return readManifest(records)
  } catch {
    return `${file} cannot be understood`
  }
}

async function tableFileDamage(file: string, size: number, blocks: boolean): Promise<string | undefined> {
  if (!blocks) return (await stat(file)).size === size ? undefined : 'it is cut off'
  const table = await readFile(file)
  return table.length === size ? tableDamage(table) : 'it is cut off'
}

const numberOf = (name: string): number => parseInt(name, 10)
