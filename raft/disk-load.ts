import type { Batch } from './batches.ts'
import type { Reader } from './bytes.ts'
import type { Disk, KeyValue } from './disk.ts'
import { readWhole, writeDurably } from './disk-files.ts'
import { batchKey, decodeBase, decodeBatch, decodeHard, decodeSnapshot, seal } from './records.ts'
import { REJOIN, StoreError } from './store.ts'
import { LogTail } from './tail.ts'
import type { Entry, HardState, SnapshotMeta } from './types.ts'

/** Whose data it is; a store of anybody else is refused. */
export interface StoreIdentity {
  readonly id: number
  readonly clusterId: string
}

/** Keys of the records that are not entries. */
export const records = { hard: 'hard', base: 'base', snapshot: 'snapshot' } as const
export const names = { identity: 'identity.json', log: 'log' } as const
const FORMAT = 1

export async function writeIdentity(disk: Disk, o: StoreIdentity): Promise<void> {
  const text = JSON.stringify({ format: FORMAT, id: o.id, clusterId: o.clusterId }) + '\n'
  await writeDurably(disk, names.identity, [Buffer.from(text)])
}

/** Throws a StoreError unless this is the data of that member. */
export async function checkIdentity(disk: Disk, o: StoreIdentity): Promise<void> {
  const file = `${disk.where}/${names.identity}`
  const found = await readIdentity(disk, file)
  if (found.format !== FORMAT)
    throw new StoreError(
      'foreign',
      `${file}: format ${String(found.format)} is not known to this version. Upgrade it.`,
    )
  if (found.id !== o.id || found.clusterId !== o.clusterId)
    throw new StoreError(
      'foreign',
      `${disk.where} belongs to member ${String(found.id)} of cluster ${String(found.clusterId)}, not to member ${o.id} of ${o.clusterId}. Was a directory copied?`,
    )
}

async function readIdentity(
  disk: Disk,
  file: string,
): Promise<{ format?: unknown; id?: unknown; clusterId?: unknown }> {
  if (!(await disk.exists(names.identity))) {
    if (await disk.exists(names.log))
      throw new StoreError(
        'corrupt',
        `${file} is lost although there is a log: creation was cut off or a file vanished. ${REJOIN}`,
      )
    throw new StoreError(
      'missing',
      `${disk.where} holds no member's data. Create it first, or look whether the disk is mounted.`,
    )
  }
  try {
    const found = JSON.parse((await readWhole(disk, names.identity)).toString()) as unknown
    if (typeof found === 'object' && found !== null) return found
  } catch (cause) {
    throw new StoreError('corrupt', `${file} is damaged. ${REJOIN}`, { cause })
  }
  throw new StoreError('corrupt', `${file} is damaged. ${REJOIN}`)
}

export interface Loaded {
  readonly tail: LogTail
  readonly hard: HardState
  readonly meta: SnapshotMeta | undefined
  readonly batches: Batch[]
}

/** Everything that was acknowledged, or a StoreError: every record is looked at, and none may be missing. */
export async function load(where: string, kv: KeyValue): Promise<Loaded> {
  const record = async <T>(key: string, decode: (r: Reader) => T): Promise<T | undefined> => {
    const value = await kv.get(key)
    return value && seal.open(value, `${where}: record ${key}`, decode)
  }
  const hard = await record(records.hard, decodeHard)
  const base = await record(records.base, decodeBase)
  const meta = await record(records.snapshot, decodeSnapshot)
  if (!hard || !base) throw corrupt(where, 'the hard state is lost')
  const tail = new LogTail(base.index, base.term)
  const batches: Batch[] = []
  for await (const [key, value] of kv.range(batchKey(0), 'f'))
    batches.push(
      addBatch(where, tail, batches, key, seal.open(value, `${where}: entries ${key}`, decodeBatch)),
    )
  if (tail.lastIndex !== hard.lastIndex || tail.lastTerm !== hard.lastTerm)
    throw corrupt(where, `the log ends at ${tail.lastIndex}, but ${hard.lastIndex} was acknowledged`)
  if (hard.commit > tail.lastIndex || (meta?.index ?? 0) < base.index)
    throw corrupt(where, 'hard state, snapshot and log contradict each other')
  const { term, vote, commit } = hard
  return { tail, hard: { term, vote, commit }, meta, batches }
}

/** No gap, no overlap, no step back in term; only the first batch may begin before the base. */
function addBatch(
  where: string,
  tail: LogTail,
  before: readonly Batch[],
  key: string,
  entries: readonly Entry[],
): Batch {
  const first = entries[0]
  const last = entries.at(-1)
  if (!first || !last || batchKey(first.index) !== key)
    throw corrupt(where, `record ${key} is not what its key says`)
  if (entries.some((e, i) => e.index !== first.index + i)) throw corrupt(where, `record ${key} has a gap`)
  const overlap = tail.lastIndex + 1 - first.index
  if (overlap < 0 || (overlap > 0 && before.length > 0))
    throw corrupt(where, `there is a gap before entry ${first.index}`)
  const news = entries.slice(overlap)
  if (news.some((e, i) => e.term < (news[i - 1]?.term ?? tail.lastTerm)))
    throw corrupt(where, `terms fall in record ${key}`)
  tail.append(news)
  return { key, first: first.index, last: last.index }
}

function corrupt(where: string, what: string): StoreError {
  return new StoreError('corrupt', `${where}: ${what}. ${REJOIN}`)
}
