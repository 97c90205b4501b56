import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { create } from 'tar'

/** No time of this machine is in a package: the same source gives the same bytes. */
const mtime = new Date('1985-10-26T08:15:00Z')

/** Everything below `cwd`/`top`, folders before what is in them, in order. */
export async function namesBelow(cwd: string, top = '.'): Promise<string[]> {
  const entries = await readdir(path.join(cwd, top), { withFileTypes: true, recursive: true })
  const names = entries.map((entry) => path.relative(cwd, path.join(entry.parentPath, entry.name)))
  return [...(top === '.' ? [] : [top]), ...names.sort()]
}

/** A gzipped tar of `names` under `cwd`, with no owner, time or mode of this machine. */
export async function writeTar(
  file: string,
  cwd: string,
  names: readonly string[],
  prefix = '',
): Promise<void> {
  await create(
    {
      file,
      cwd,
      gzip: { level: 6 },
      portable: true,
      noDirRecurse: true,
      noPax: true,
      mtime,
      prefix,
      onWriteEntry: (entry) => {
        if (entry.stat) entry.stat.mode = modeOf(entry.stat)
      },
    },
    [...names],
  )
}

/** Folders and programs are for all; the rest is read by all. Settings, which may hold a token, are root's. */
function modeOf(stat: { mode: number; isDirectory(): boolean; isSymbolicLink(): boolean }): number {
  if (stat.isDirectory()) return 0o40755
  if (stat.isSymbolicLink()) return 0o120777
  if (!(stat.mode & 0o077)) return 0o100600
  return stat.mode & 0o100 ? 0o100755 : 0o100644
}

/** One member's header of an `ar` archive: fixed columns, decimal, octal mode. */
export function arHeader(name: string, size: number): Buffer {
  if (name.length > 16) throw new Error(`a member's name has at most 16 letters: ${name}`)
  const columns = [name.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644'.padEnd(8)]
  return Buffer.from(`${columns.join('')}${String(size).padEnd(10)}\`\n`, 'latin1')
}

/** The archive that a Debian package is: written here so that it can be made on any system. */
export async function writeAr(
  file: string,
  members: readonly { name: string; from: string }[],
): Promise<void> {
  const parts: Uint8Array[] = [Buffer.from('!<arch>\n')]
  for (const { name, from } of members) {
    const content = await readFile(from)
    parts.push(arHeader(name, content.length), content)
    if (content.length % 2) parts.push(Buffer.from('\n'))
  }
  await writeFile(file, Buffer.concat(parts))
}
