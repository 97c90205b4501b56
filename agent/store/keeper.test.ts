import { utimes } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { Map as ImmutableMap } from 'immutable'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Cluster } from '../cluster/cluster.ts'
import type { Command } from '../cluster/commands.ts'
import type { BlobRow, ImageRow, Kept, NodeRow, State, TaskRow } from '../cluster/state.ts'
import { emptyState } from '../cluster/transaction.ts'
import { Keeper } from './keeper.ts'
import { grace } from './keeping.ts'
import type { StreamKey } from './store.ts'
import { Rig } from './testing/rig.ts'

const log: StreamKey = { task: 't', attempt: 1, kind: 'log' }

/** TEST DOUBLE of the replicated state: what the test lays into it; proposals are only noted. */
class StateDouble {
  state: State = emptyState
  behind = false
  readonly proposed: Command[] = []

  nodes(...ids: string[]) {
    this.state = { ...this.state, nodes: ImmutableMap(ids.map((id) => [id, {} as NodeRow])) }
  }

  task(row: Partial<TaskRow>) {
    const whole = {
      id: 't',
      state: 'Succeeded',
      attempt: 1,
      log: null,
      metrics: null,
      artifacts: null,
      ...row,
    }
    this.state = { ...this.state, tasks: this.state.tasks.set(whole.id, whole as TaskRow) }
  }

  drop(task: string) {
    this.state = { ...this.state, tasks: this.state.tasks.delete(task) }
  }

  upload(sha256: string, ...holders: string[]) {
    this.state = { ...this.state, blobs: this.state.blobs.set(sha256, { bytes: 1, holders } as unknown as BlobRow) }
  } // prettier-ignore

  image([manifest = '', config = '', ...layers]: readonly string[], ...holders: string[]) {
    const blob = (sha256: string) => ({ digest: `sha256:${sha256}`, media_type: '', bytes: 1 })
    const about = { os: 'linux', architecture: 'amd64', config: blob(config), layers: layers.map(blob) }
    const { digest } = blob(manifest)
    const row = { digest, media_type: '', manifests: [{ ...blob(manifest), ...about }], names: [], holders }
    this.state = { ...this.state, images: this.state.images.set(digest, row as unknown as ImageRow) }
  }

  as(node: string): Pick<Cluster, 'self' | 'state' | 'propose' | 'barrier'> {
    return {
      self: { node, member: 1 },
      state: () => this.state,
      propose: async (command: Command) => {
        this.proposed.push(command)
        return null as never
      },
      barrier: async () => {
        if (this.behind) throw new Error('no leader')
      },
    }
  }
}

let rig: Rig
let cluster: StateDouble
let now: number
beforeEach(() => {
  cluster = new StateDouble()
  now = Date.now()
})
afterEach(() => rig.stop())

function keeperOf(node: string, patienceMs = 10_000): Keeper {
  const { blobs, streams } = rig.agent(node)
  const quiet = pino({ level: 'silent' })
  return new Keeper({ cluster: cluster.as(node), blobs, streams, log: quiet, now: () => now, patienceMs })
}

const put = async (node: string, content: string) =>
  (await rig.agent(node).blobs.put(Readable.from([content]))).sha256

/** Files and their manifest on one node, as an attempt leaves them. */
async function collected(node: string, ...contents: string[]): Promise<{ kept: Kept; files: string[] }> {
  const files = await Promise.all(contents.map((content) => put(node, content)))
  const lines = files.map((sha256, n) => JSON.stringify({ path: `f${n}`, bytes: 1, sha256 }) + '\n')
  const sha256 = await put(node, lines.join(''))
  return { kept: { files: files.length, bytes: 1, sha256, holders: [node] }, files }
}

describe('repair', () => {
  test('a sealed stream with one copy gets a second, and the cluster hears of it', async () => {
    rig = await Rig.start('a')
    const { streams } = rig.agent('a')
    await streams.append(log, [{ n: 1 }], 1)
    const { sha256, bytes, holders } = await streams.seal(log)
    expect(holders).toEqual(['a'])
    await rig.add('b')
    cluster.nodes('a', 'b')
    cluster.task({ log: { files: 1, bytes, sha256, holders } })
    await keeperOf('a').repair()
    expect(cluster.proposed).toEqual([
      { type: 'task.copied', task: 't', attempt: 1, kind: 'log', holders: ['a', 'b'] },
    ])
    expect((await rig.agent('b').streams.local.find(log))?.sealed).toEqual({ sha256, bytes })
  })

  test('a copy that is missing is no empty stream', async () => {
    rig = await Rig.start('a', 'b')
    cluster.nodes('a', 'b')
    cluster.task({ log: { files: 1, bytes: 9, sha256: 'd', holders: ['a'] } })
    await keeperOf('a').repair()
    expect(cluster.proposed).toEqual([])
    expect(await rig.agent('a').streams.size(log)).toBeUndefined()
  })

  test('artifacts go to one node, every file of them', async () => {
    rig = await Rig.start('a', 'b', 'c', 'd')
    cluster.nodes('a', 'b', 'c', 'd')
    const { kept, files } = await collected('a', ...Array.from({ length: 30 }, (_, n) => `file ${n}`))
    cluster.task({ artifacts: kept })
    await keeperOf('a').repair()
    expect(cluster.proposed).toMatchObject([{ type: 'task.copied', kind: 'artifacts' }])
    const [command] = cluster.proposed as Extract<Command, { type: 'task.copied' }>[]
    const { blobs } = rig.agent(command!.holders[1]!)
    for (const sha256 of [kept.sha256, ...files]) expect(await blobs.size(sha256)).toBeDefined()
  })

  test('what the last holder lacks itself, it first gets from whoever has it', async () => {
    rig = await Rig.start('a', 'b', 'c')
    cluster.nodes('a', 'b', 'c')
    const { kept, files } = await collected('a', 'x', 'y')
    await put('c', 'x')
    await rig.agent('a').blobs.delete(files[0]!)
    cluster.task({ artifacts: kept })
    await keeperOf('a').repair()
    expect(cluster.proposed).toHaveLength(1)
    expect(await buffer(rig.agent('a').blobs.read(files[0]!))).toEqual(Buffer.from('x'))
  })

  test('nothing is claimed while no other node takes a copy', async () => {
    rig = await Rig.start('a', 'b')
    cluster.nodes('a', 'b')
    cluster.task({ artifacts: (await collected('a', 'x')).kept })
    cluster.upload(await put('a', 'u'), 'a')
    await rig.agent('b').peers.kill()
    await keeperOf('a', 50).repair()
    expect(cluster.proposed).toEqual([])
  })

  test('an upload with one copy gets a second', async () => {
    rig = await Rig.start('a', 'b')
    cluster.nodes('a', 'b')
    const sha256 = await put('a', 'u')
    cluster.upload(sha256, 'a')
    await keeperOf('a').repair()
    expect(cluster.proposed).toMatchObject([{ type: 'blob.create', sha256, holders: ['a', 'b'] }])
  })
})

describe('images', () => {
  const putAll = (node: string) => Promise.all(['m', 'c', 'l1', 'l2'].map((text) => put(node, text)))

  test('one that a single node keeps gets a second copy of every blob, on one node', async () => {
    rig = await Rig.start('a', 'b', 'c')
    cluster.nodes('a', 'b', 'c')
    const blobs = await putAll('a')
    cluster.image(blobs, 'a')
    await keeperOf('a').repair()
    const [command] = cluster.proposed as Extract<Command, { type: 'image.hold' }>[]
    expect(command).toMatchObject({ type: 'image.hold', digest: `sha256:${blobs[0]}` })
    const second = rig.agent(command?.holders.find((node) => node !== 'a') ?? '')
    for (const blob of blobs) expect(await second.blobs.size(blob)).toBeDefined()
  })

  test('its blobs stay where they are kept; what only passed through goes after an hour', async () => {
    rig = await Rig.start('a', 'b')
    cluster.nodes('a', 'b')
    const blobs = await putAll('a')
    await putAll('b')
    cluster.image(blobs, 'a')
    const there = async (node: string) => {
      const sizes = await Promise.all(blobs.map((blob) => rig.agent(node).blobs.size(blob)))
      return sizes.filter((size) => size !== undefined).length
    }
    const [keeper, passer] = [keeperOf('a'), keeperOf('b')]
    await passer.collect()
    expect(await there('b')).toBe(4)
    now += grace.released + 1000
    await keeper.collect()
    await passer.collect()
    expect([await there('a'), await there('b')]).toEqual([4, 0])
  })
})

describe('collect', () => {
  const kept = async (node: string, digests: string[]) => {
    const sizes = await Promise.all(digests.map((digest) => rig.agent(node).blobs.size(digest)))
    return sizes.map((size) => size !== undefined)
  }

  test('frees what no row refers to any more, after the grace', async () => {
    rig = await Rig.start('a')
    cluster.nodes('a')
    const { kept: artifacts, files } = await collected('a', 'x', 'y')
    const upload = await put('a', 'u')
    cluster.upload(upload, 'a')
    cluster.task({ artifacts })
    const keeper = keeperOf('a')
    now += 2 * grace.unknown
    await keeper.collect()
    expect(await kept('a', [artifacts.sha256, ...files, upload])).toEqual([true, true, true, true])
    cluster.drop('t')
    await keeper.collect()
    expect(await kept('a', [artifacts.sha256, ...files, upload])).toEqual([false, false, false, true])
  })

  test('leaves alone what is young: its attempt may still be collecting', async () => {
    rig = await Rig.start('a')
    const sha256 = await put('a', 'x')
    const keeper = keeperOf('a')
    now += grace.released
    await keeper.collect()
    expect(await kept('a', [sha256])).toEqual([true])
    now += grace.unknown
    await keeper.collect()
    expect(await kept('a', [sha256])).toEqual([false])
  })

  test('reads the manifests that other nodes hold, and frees nothing when one cannot be read', async () => {
    rig = await Rig.start('a', 'b')
    cluster.nodes('a', 'b')
    const { kept: artifacts, files } = await collected('b', 'x')
    cluster.task({ artifacts })
    await put('a', 'x')
    const stray = await put('a', 'stray')
    now += 2 * grace.unknown
    await rig.agent('b').peers.kill()
    await expect(keeperOf('a').collect()).rejects.toMatchObject({ code: 'node_unreachable' })
    expect(await kept('a', [files[0]!, stray])).toEqual([true, true])
    await rig.agent('b').peers.start()
    await keeperOf('a').collect()
    expect(await kept('a', [files[0]!, stray])).toEqual([true, false])
  })

  test('a replica that may lag behind judges nothing', async () => {
    rig = await Rig.start('a')
    const sha256 = await put('a', 'x')
    now += 2 * grace.unknown
    cluster.behind = true
    await expect(keeperOf('a').collect()).rejects.toThrow('no leader')
    expect(await kept('a', [sha256])).toEqual([true])
  })

  test('streams of deleted tasks go, others stay', async () => {
    rig = await Rig.start('a')
    const { streams, data } = rig.agent('a')
    cluster.task({ state: 'Running' })
    const gone = { ...log, task: 'deleted' }
    for (const key of [log, gone]) await streams.append(key, [{ n: 1 }], 1)
    const old = new Date(now - grace.released)
    for (const { task } of [log, gone])
      await utimes(path.join(data, 'streams', task, '1.log.jsonl'), old, old)
    await keeperOf('a').collect()
    expect(await streams.size(log)).toBeDefined()
    expect(await streams.size(gone)).toBeUndefined()
  })
})

test('runs by itself once started, and stop waits for what is under way', async () => {
  rig = await Rig.start('a', 'b')
  cluster.nodes('a', 'b')
  const sha256 = await put('a', 'u')
  cluster.upload(sha256, 'a')
  const { blobs, streams } = rig.agent('a')
  let done: () => void
  const copied = new Promise<void>((resolve) => (done = resolve))
  const view = cluster.as('a')
  const keeper = new Keeper({
    cluster: { ...view, propose: async () => (done(), null as never) },
    blobs,
    streams,
    log: pino({ level: 'silent' }),
    repairEveryMs: 1,
  })
  keeper.start()
  await copied
  await keeper.stop()
  expect(await rig.agent('b').blobs.size(sha256)).toBe(1)
})
