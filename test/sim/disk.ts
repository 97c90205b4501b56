import type { Disk, FileWriter, KvOp } from '../../raft/disk.ts'
import { StoreError } from '../../raft/store.ts'
import { Database } from './database.ts'
import { never, type Life } from './life.ts'
import type { Rng } from '../../raft/testing/rng.ts'
import type { World } from './world.ts'

/** An injected failure, so that it is told from an error of the code under test. */
export class DiskFault extends Error {
  readonly code: 'ENOSPC' | 'EIO'
  constructor(code: 'ENOSPC' | 'EIO', where: string) {
    super(`${code}, ${where}`)
    this.name = 'DiskFault'
    this.code = code
  }
}

interface File {
  durable: Buffer
  unsynced: Buffer[]
  /** Its name survives a power cut. */
  named: boolean
}

interface Write {
  readonly db: Database
  readonly ops: readonly KvOp[]
}

const PIECE = 512

/** One machine's disk. It outlives processes; each process sees it through a mount of its own. */
export class SimDisk {
  readonly world: World
  readonly id: number
  readonly databases = new Map<string, Database>()
  readonly files = new Map<string, File>()
  /** Mean milliseconds of a sync. */
  syncMs: number
  stalledUntil = 0
  /** Until then each reading of a file may take long, while other calls do not. */
  slowReadsUntil = 0
  /** The next write fails so. */
  failNext: 'ENOSPC' | 'EIO' | undefined
  /** What was destroyed for good; a process on this disk must not serve. */
  damage: string | undefined
  /** Something is damaged that may be found late, or never needed. */
  rot = false
  /** Storage calls until the process is killed in the middle of one. */
  #killIn = Infinity
  #kill: () => void = () => {}

  constructor(world: World, id: number) {
    this.world = world
    this.id = id
    this.syncMs = world.rng.disk.between(1, 12)
  }

  get rng(): Rng {
    return this.world.rng.disk
  }

  readMs(): number {
    return this.slowReadsUntil > this.world.now ? this.rng.float() * 2000 : 0.05
  }

  mount(life: Life): Disk {
    return new Mount(this, life).disk()
  }

  killIn(calls: number, kill: () => void): void {
    this.#killIn = calls
    this.#kill = kill
  }

  /** True when the process died at this call. */
  countCall(): boolean {
    if (--this.#killIn > 0) return false
    this.#killIn = Infinity
    this.#kill()
    return true
  }

  crash(powerCut: boolean): void {
    this.#killIn = Infinity
    this.failNext = undefined
    for (const db of this.databases.values()) db.crash(powerCut, this.rng)
    if (powerCut) for (const [name, f] of this.files) this.#cutFile(name, f)
  }

  /** Of what was not synced any part may be there, its last bytes may be garbage, and a new name may be gone. */
  #cutFile(name: string, f: File): void {
    if (!f.named && this.rng.chance(0.5)) {
      this.files.delete(name)
      return
    }
    f.named = true
    if (f.unsynced.length === 0) return
    const rest = Buffer.concat(f.unsynced)
    const kept = Buffer.from(rest.subarray(0, this.rng.int(rest.length + 1)))
    if (this.rng.chance(0.5)) for (let i = Math.max(0, kept.length - 64); i < kept.length; i++) kept[i] = 0
    f.durable = Buffer.concat([f.durable, kept])
    f.unsynced = []
  }

  // ---- destruction; the process must be down

  flipRecord(name: string): boolean {
    const db = this.databases.get(name)
    const values = [...(db?.durable.values() ?? [])].filter((v) => v.length > 0)
    if (values.length === 0) return false
    flip(this.rng.pick(values), this.rng)
    return true
  }

  flipFile(folder: string): boolean {
    const names = [...this.files.keys()].filter((name) => name.startsWith(folder))
    const f = names.length > 0 ? this.files.get(this.rng.pick(names)) : undefined
    if (!f || f.durable.length === 0) return false
    flip(f.durable, this.rng)
    return true
  }

  loseCurrent(name: string): boolean {
    const db = this.databases.get(name)
    if (!db) return false
    db.current = false
    return true
  }
}

function flip(bytes: Buffer, rng: Rng): void {
  const at = rng.int(bytes.length)
  bytes[at] = (bytes[at] as number) ^ (1 << rng.int(8))
}

/** A disk as one process sees it: every call takes time, may be its last, and may fail. */
export class Mount {
  readonly #disk: SimDisk
  readonly #life: Life
  readonly #open = new Set<string>()
  /** Under way, in order: a crash leaves some of them. */
  readonly #writing = new Set<Write>()

  constructor(disk: SimDisk, life: Life) {
    this.#disk = disk
    this.#life = life
    life.onDeath(() => this.#interrupt())
  }

  /** A call that changes nothing that a crash could cut in half. */
  async wait(call: string, name: string, ms = 0.05): Promise<void> {
    this.#begin(call, name)
    await this.#done(ms)
  }

  #begin(call: string, name: string): void {
    const disk = this.#disk
    disk.world.trace(() => `disk ${disk.id} ${call} ${name}`)
    disk.countCall()
  }

  async #done(ms: number): Promise<void> {
    const { world } = this.#disk
    if (!this.#life.alive) await never()
    const stall = Math.max(0, this.#disk.stalledUntil - world.now)
    await this.#life.sleep(stall + ms)
  }

  /** Writes reach a database in the order in which they were begun. The disk works on while the process is stopped. */
  async append(db: Database, name: string, ops: readonly KvOp[], sync: boolean): Promise<void> {
    const disk = this.#disk
    const write = { db, ops }
    this.#writing.add(write)
    this.#begin(sync ? 'sync' : 'write', name)
    if (!this.#life.alive) await never()
    const { now, clock } = disk.world
    const ms = sync ? disk.syncMs * disk.rng.between(0.2, 2) : 0.05
    db.busyUntil = Math.max(now, disk.stalledUntil, db.busyUntil) + ms
    await new Promise<void>((resolve, reject) => {
      clock.schedule(db.busyUntil - now, () => {
        if (!this.#writing.delete(write)) return
        const fault = this.#fault(write, name, sync)
        if (!fault) db.write(ops, sync)
        this.#life.enter(() => (fault ? reject(fault) : resolve()))
      })
    })
  }

  /** Some of what was under way arrived: of each database a beginning. */
  #interrupt(): void {
    const ended = new Set<Database>()
    for (const { db, ops } of this.#writing)
      if (!ended.has(db) && !db.interrupted(ops, this.#disk.rng)) ended.add(db)
    this.#writing.clear()
  }

  #fault({ db, ops }: Write, name: string, sync: boolean): DiskFault | undefined {
    const disk = this.#disk
    const code = db.failing ? 'EIO' : disk.failNext
    if (!code || (code === 'EIO' && !sync && !db.failing)) return undefined
    disk.failNext = undefined
    if (code === 'ENOSPC') db.tear()
    else if (!db.failing) db.failSync(ops, disk.rng)
    disk.world.count(`fault ${code}`)
    return new DiskFault(code, `${disk.id}/${name}`)
  }

  disk(): Disk {
    const { files, databases } = this.#disk
    return {
      where: `/disk/${this.#disk.id}`,
      openDatabase: (name, { create }) => this.#openDatabase(name, create),
      exists: async (name) => {
        await this.wait('exists', name)
        return databases.has(name) || files.has(name)
      },
      size: async (name) => {
        await this.wait('size', name)
        const f = files.get(name)
        return f && whole(f).length
      },
      list: async (folder) => {
        await this.wait('list', folder)
        return [...files.keys()]
          .filter((name) => name.startsWith(`${folder}/`))
          .map((name) => name.slice(folder.length + 1))
      },
      read: (name, offset = 0) => this.#read(name, offset),
      write: (name, o) => this.#writer(name, o?.append ?? false),
      rename: (from, to) => this.#rename(from, to),
      remove: async (name) => {
        await this.wait('remove', name)
        files.delete(name)
        databases.delete(name)
      },
    }
  }

  async #openDatabase(name: string, create: boolean) {
    await this.wait('open', name, 1)
    const { databases, id } = this.#disk
    if (this.#open.has(name)) throw new StoreError('locked', `/disk/${id}/${name} is in use`)
    if (create) databases.set(name, new Database())
    const db = databases.get(name)
    if (!db) throw new StoreError('missing', `there is no database /disk/${id}/${name}`)
    if (!db.current) throw new StoreError('corrupt', `/disk/${id}/${name}: the file CURRENT is lost`)
    this.#open.add(name)
    db.recover()
    const kv = db.open(this, name)
    return {
      ...kv,
      close: async () => {
        this.#open.delete(name)
        await kv.close()
      },
    }
  }

  async *#read(name: string, offset: number): AsyncGenerator<Uint8Array> {
    await this.wait('read', name, this.#disk.readMs())
    const f = this.#disk.files.get(name)
    if (!f) throw Object.assign(new Error(`there is no file ${name}`), { code: 'ENOENT' })
    const bytes = whole(f)
    for (let at = offset; at < bytes.length; at += PIECE) {
      yield Buffer.from(bytes.subarray(at, at + PIECE))
      await this.#done(0.05)
    }
  }

  async #writer(name: string, append: boolean): Promise<FileWriter> {
    await this.wait('create', name)
    const { files, syncMs, rng } = this.#disk
    const old = files.get(name)
    const f = append && old ? old : { durable: Buffer.alloc(0), unsynced: [], named: old?.named ?? false }
    files.set(name, f)
    return {
      write: async (data) => {
        this.#begin('write', name)
        if (!this.#life.alive) await never()
        f.unsynced.push(Buffer.from(data))
        await this.#done(0.1)
        this.#maybeFull(name)
      },
      sync: async () => {
        this.#begin('sync', name)
        await this.#done(syncMs * rng.between(0.2, 2))
        f.durable = whole(f)
        f.unsynced = []
        f.named = true
      },
      close: () => this.wait('close', name),
    }
  }

  #maybeFull(name: string): void {
    const disk = this.#disk
    if (disk.failNext !== 'ENOSPC') return
    disk.failNext = undefined
    disk.world.count('fault ENOSPC')
    throw new DiskFault('ENOSPC', `${disk.id}/${name}`)
  }

  /** Before or after, never in between: a journalled file system's promise. */
  async #rename(from: string, to: string): Promise<void> {
    const { files, rng, syncMs } = this.#disk
    this.#begin('rename', from)
    const f = files.get(from)
    if (!f) throw Object.assign(new Error(`there is no file ${from}`), { code: 'ENOENT' })
    if (!this.#life.alive && rng.chance(0.5)) await never()
    files.delete(from)
    files.set(to, f)
    await this.#done(syncMs * rng.between(0.2, 1))
    f.named = true
  }
}

function whole(f: File): Buffer {
  return f.unsynced.length === 0 ? f.durable : Buffer.concat([f.durable, ...f.unsynced])
}
