import { createHash } from 'node:crypto'
import { createReadStream, openAsBlob } from 'node:fs'
import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { create } from 'tar'
import { formatBytes } from '../../contract/resources.ts'
import { UsageError } from '../failure.ts'
import { type Ignores, readIgnores } from './ignore.ts'

const largest = 1024 ** 3

export interface Listing {
  /** Paths of files, links and folders below the root, sorted, with "/" between parts. */
  paths: string[]
  files: number
  bytes: number
  /** What was left out, with why: links that leave the folder, sockets, devices. */
  skipped: string[]
}

export interface Packed {
  file: string
  sha256: string
  bytes: number
  blob: Blob
  remove(): Promise<void>
}

/** What of a folder would be uploaded. */
export async function listFolder(root: string): Promise<Listing> {
  const ignores = readIgnores(await readFile(path.join(root, '.submarineignore'), 'utf8').catch(() => ''))
  const listing: Listing = { paths: [], files: 0, bytes: 0, skipped: [] }
  await listBelow(root, '', ignores, listing)
  if (listing.bytes > largest)
    throw new UsageError(
      `the folder holds ${formatBytes(listing.bytes)}, more than ${formatBytes(largest)}`,
      'Name data and results in a .submarineignore (written like a .gitignore), or use --no-upload.',
    )
  return listing
}

async function listBelow(root: string, below: string, ignores: Ignores, listing: Listing): Promise<void> {
  const entries = await readdir(path.join(root, below), { withFileTypes: true })
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const at = below ? `${below}/${entry.name}` : entry.name
    if (ignores(at, entry.isDirectory())) continue
    if (entry.isDirectory()) {
      listing.paths.push(at)
      await listBelow(root, at, ignores, listing)
    } else if (entry.isFile()) {
      listing.paths.push(at)
      listing.files++
      listing.bytes += (await lstat(path.join(root, at))).size
    } else if (entry.isSymbolicLink() && staysInside(root, at, await readlink(path.join(root, at))))
      listing.paths.push(at)
    else listing.skipped.push(`${at} (${entry.isSymbolicLink() ? 'a link out of the folder' : 'no file'})`)
  }
}

function staysInside(root: string, at: string, target: string): boolean {
  if (path.isAbsolute(target)) return false
  const resolved = path.relative(root, path.resolve(root, path.dirname(at), target))
  return resolved !== '..' && !resolved.startsWith(`..${path.sep}`)
}

/** A tar.gz of the listed paths in a temporary file: the same folder gives the same bytes, so it is kept once. */
export async function packFolder(root: string, listing: Listing): Promise<Packed> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-code-'))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    const file = path.join(folder, 'code.tar.gz')
    // "./" keeps a name such as "@data" from being read as another archive to include.
    const names = listing.paths.map((name) => `./${name}`)
    await create({ file, cwd: root, gzip: true, portable: true, noDirRecurse: true }, names)
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
    const blob = await openAsBlob(file)
    return { file, sha256: hash.digest('hex'), bytes: blob.size, blob, remove }
  } catch (error) {
    await remove()
    throw error
  }
}
