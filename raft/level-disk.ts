import { createReadStream } from 'node:fs'
import { access, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { Level } from 'level'
import type { Disk, FileWriter, KeyValue } from './disk.ts'
import { findLevelDamage } from './leveldb-check.ts'
import { REJOIN, StoreError } from './store.ts'

/** A folder of the file system, its databases in LevelDB. Nothing is made there before the first write. */
export function levelDisk(dir: string): Disk {
  const at = (name: string) => path.join(dir, name)
  return {
    where: dir,
    openDatabase: (name, o) => openLevel(at(name), o.create),
    exists: (name) => isThere(at(name)),
    size: (name) => stat(at(name)).then((s) => s.size, ifMissing(undefined)),
    list: (folder) => readdir(at(folder)).catch(ifMissing([])),
    read: (name, offset = 0) =>
      createReadStream(at(name), { start: offset, highWaterMark: 256 << 10 }) as AsyncIterable<Buffer>,
    write: (name, o) => openWriter(at(name), o?.append ?? false),
    async rename(from, to) {
      await rename(at(from), at(to))
      await syncDirectory(path.dirname(at(to)))
    },
    remove: (name) => rm(at(name), { recursive: true, force: true }),
  }
}

// Values carry our own checksums and are mostly incompressible or small.
const LEVEL_OPTIONS = { compression: false, writeBufferSize: 16 << 20, valueEncoding: 'buffer' } as const

async function openLevel(dir: string, create: boolean): Promise<KeyValue> {
  if (create) await rm(dir, { recursive: true, force: true })
  else if (!(await isThere(dir))) throw new StoreError('missing', `there is no database ${dir}`)
  if (create) await makeFolder(dir)
  else await checkFiles(dir)
  const db = new Level<string, Buffer>(dir, {
    ...LEVEL_OPTIONS,
    createIfMissing: create,
    errorIfExists: create,
  })
  try {
    await db.open()
    // LevelDB renames CURRENT on open and does not sync the directory.
    await syncDirectory(dir)
  } catch (e) {
    await db.close()
    throw openError(dir, e)
  }
  return {
    batch: (ops, sync) => db.batch(ops as LevelOp[], { sync }),
    get: (key) => db.get(key),
    range: (from, to) => db.iterator({ gte: from, lt: to }),
    close: () => db.close(),
  }
}

async function checkFiles(dir: string): Promise<void> {
  const damage = await findLevelDamage(dir, { tables: true })
  if (damage !== undefined) throw new StoreError('corrupt', `${damage}. ${REJOIN}`)
}

type LevelOp = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

function openError(dir: string, e: unknown): StoreError {
  const cause = e instanceof Error && e.cause instanceof Error ? e.cause : e
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const message = cause instanceof Error ? cause.message : String(cause)
  if (code === 'LEVEL_LOCKED')
    return new StoreError('locked', `${dir} is in use by another process`, { cause })
  return new StoreError('corrupt', `${dir} cannot be opened: ${message}. ${REJOIN}`, { cause })
}

async function openWriter(file: string, append: boolean): Promise<FileWriter> {
  await makeFolder(path.dirname(file))
  const handle = await open(file, append ? 'a' : 'w', 0o600)
  let named = false
  return {
    write: (data) => handle.writeFile(data),
    async sync() {
      await handle.sync()
      if (!named) await syncDirectory(path.dirname(file))
      named = true
    },
    close: () => handle.close(),
  }
}

/** Its own entry is durable when resolved, and those of the folders made on the way. */
async function makeFolder(dir: string): Promise<void> {
  const first = await mkdir(dir, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let at = path.dirname(dir); ; at = path.dirname(at)) {
    await syncDirectory(at)
    if (at === path.dirname(first)) return
  }
}

/** Without this a created or renamed file may be gone after power loss. */
async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function isThere(file: string): Promise<boolean> {
  return access(file).then(() => true, ifMissing(false))
}

/** Any other error is one: a file that cannot be looked at is not a missing one. */
function ifMissing<T>(value: T): (e: unknown) => T {
  return (e) => {
    if ((e as { code?: unknown }).code === 'ENOENT') return value
    throw e
  }
}
