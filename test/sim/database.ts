import type { KeyValue, KvOp } from '../../raft/disk.ts'
import { never } from './life.ts'
import type { Mount } from './disk.ts'
import type { Rng } from '../../raft/testing/rng.ts'

/**
 * A key-value database that fails as LevelDB does: what was not synced may be lost from any batch on; after a failed
 * append it goes on saying yes to what it will have forgotten; after a failed sync it refuses everything.
 */
export class Database {
  /** What a crash leaves for certain. */
  readonly durable = new Map<string, Buffer>()
  /** Written, but only into the operating system's memory. Kept in order: a crash leaves a beginning of it. */
  #unsynced: (readonly KvOp[])[] = []
  /** When the last write that was begun will be done. */
  busyUntil = 0
  /** False: the file CURRENT is gone, and with it, for LevelDB, the database. */
  current = true
  /** A record was torn by a full disk: nothing after it will be found again. */
  #poisoned = false
  #syncFailed = false

  /** The process is gone; with `powerCut` the operating system's memory too. */
  crash(powerCut: boolean, rng: Rng): void {
    this.#poisoned = false
    this.#syncFailed = false
    if (!powerCut) return
    const kept = this.#unsynced.slice(0, rng.int(this.#unsynced.length + 1))
    this.#unsynced = []
    for (const ops of kept) apply(this.durable, ops)
  }

  /** Opening rewrites what was in the write-ahead log into a table, and syncs that. */
  recover(): void {
    for (const batch of this.#unsynced) apply(this.durable, batch)
    this.#unsynced = []
  }

  /** The bytes of a record that was never acknowledged may have arrived nonetheless. */
  interrupted(ops: readonly KvOp[], rng: Rng): boolean {
    const arrived = !this.#poisoned && !this.#syncFailed && rng.chance(0.5)
    if (arrived) this.#unsynced.push(ops)
    return arrived
  }

  write(ops: readonly KvOp[], sync: boolean): void {
    if (this.#poisoned) return
    this.#unsynced.push(ops)
    if (!sync) return
    this.recover()
  }

  get failing(): boolean {
    return this.#syncFailed
  }
  tear(): void {
    this.#poisoned = true
  }
  failSync(ops: readonly KvOp[], rng: Rng): void {
    this.interrupted(ops, rng)
    this.#syncFailed = true
  }

  open(mount: Mount, name: string): KeyValue {
    const contents = new Map(this.durable)
    let closed = false
    return {
      batch: async (ops, sync) => {
        if (closed) throw new Error(`${name} is closed`)
        await mount.append(this, name, ops, sync)
      },
      get: async (key) => {
        await mount.wait('get', name)
        return contents.get(key)
      },
      range: (from, to) => range(contents, mount, from, to),
      close: async () => {
        closed = true
        await mount.wait('close', name)
      },
    }
  }
}

async function* range(
  contents: ReadonlyMap<string, Buffer>,
  mount: Mount,
  from: string,
  to: string,
): AsyncGenerator<readonly [string, Buffer]> {
  await mount.wait('range', from)
  const keys = [...contents.keys()].filter((key) => key >= from && key < to).sort()
  for (const key of keys) yield [key, contents.get(key) ?? (await never())]
}

function apply(to: Map<string, Buffer>, ops: readonly KvOp[]): void {
  for (const op of ops) {
    if (op.type === 'del') to.delete(op.key)
    else to.set(op.key, Buffer.from(op.value))
  }
}
