import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Incoming } from './incoming.ts'
import { Rig, until } from './testing/rig.ts'

const MiB = 1024 ** 2
const timing = { idleMs: 1_000, retryMs: 10, patienceMs: 300, lingerMs: 50 }

describe('a file that several nodes need', () => {
  let rig: Rig
  const incoming = new Map<string, Incoming>()
  beforeEach(async () => {
    rig = await Rig.start('a', 'b', 'c', 'd')
    for (const node of rig.agents.keys()) await open(node)
  })
  afterEach(async () => {
    for (const one of incoming.values()) await one.close()
    await rig.stop()
  })

  async function open(node: string): Promise<void> {
    const { peers, blobs, space, data } = rig.agent(node)
    const group = { peers, self: node, nodes: rig.network.nodes }
    incoming.set(node, await Incoming.open({ ...group, local: blobs.local, data, space, ...timing }))
  }

  const content = randomBytes(6 * MiB + 17)
  const sha256 = createHash('sha256').update(content).digest('hex')
  const hold = (...nodes: string[]) =>
    Promise.all(nodes.map((node) => rig.agent(node).blobs.put(Readable.from([content]))))
  async function read(
    node: string,
    holders: string[],
    range?: { start: number; end: number },
  ): Promise<Buffer> {
    const { body } = await (incoming.get(node) as Incoming).read(sha256, content.length, holders, range)
    return buffer(body)
  }
  const asked = (node: string) =>
    rig.agent(node).peers.served.filter((line) => line.includes('/incoming/')).length
  const fileOf = (node: string) => path.join(rig.agent(node).data, 'blobs', 'incoming', sha256)

  it('is fetched once however many read it, whole or in part, and is kept', async () => {
    await hold('a')
    const got = await Promise.all([
      read('b', ['a']),
      read('b', ['a']),
      read('b', ['a'], { start: 5 * MiB, end: 5 * MiB + 9 }),
    ])
    expect(got[0]?.equals(content) && got[1]?.equals(content)).toBe(true)
    expect(got[2]).toEqual(content.subarray(5 * MiB, 5 * MiB + 10))
    expect(asked('a')).toBe(1)
    await until(async () => (await rig.agent('b').blobs.size(sha256)) === content.length)
    expect((await read('b', ['a'])).equals(content)).toBe(true)
    expect(asked('a')).toBe(1)
  })

  it('goes from one reader to the next: the first holder gives it away once', async () => {
    await hold('a')
    // While it comes to b, who asks a is sent on.
    let release = () => undefined as void
    const held = new Promise<void>((resolve) => (release = resolve))
    const { local } = rig.agent('a').blobs
    const whole = local.read.bind(local)
    let given = 0
    local.read = (...args) => {
      given++
      const source = whole(...args)
      return Readable.from(
        (async function* () {
          let first = true
          for await (const chunk of source) {
            yield chunk as Buffer
            if (first) await held
            first = false
          }
        })(),
      )
    }
    const [b, c, d] = [read('b', ['a']), read('c', ['a']), read('d', ['a'])]
    await until(() => ['b', 'c', 'd'].reduce((sum, node) => sum + asked(node), 0) >= 2)
    release()
    for (const got of await Promise.all([b, c, d])) expect(got.equals(content)).toBe(true)
    expect(given).toBe(1)
  })

  it('is gone on with from another holder when one is killed, at the byte where it stood', async () => {
    await hold('a', 'b')
    const killed: string[] = []
    for (const node of ['a', 'b']) {
      const { local } = rig.agent(node).blobs
      const whole = local.read.bind(local)
      local.read = (digest, range) => {
        const source = whole(digest, range)
        if (killed.length > 0) return source
        killed.push(node)
        return Readable.from(
          (async function* () {
            for await (const chunk of source) {
              yield chunk as Buffer
              await rig.agent(node).peers.kill()
            }
          })(),
        )
      }
    }
    expect((await read('c', ['a', 'b'])).equals(content)).toBe(true)
    expect(killed).toHaveLength(1)
    const survivor = killed[0] === 'a' ? 'b' : 'a'
    expect(asked(survivor)).toBe(1)
  })

  it('is gone on with after a restart, and what was damaged meanwhile is fetched anew', async () => {
    await hold('a')
    await writeFile(fileOf('b'), content.subarray(0, 4 * MiB))
    expect((await read('b', ['a'])).equals(content)).toBe(true)

    await writeFile(fileOf('c'), Buffer.alloc(4 * MiB))
    await expect(read('c', ['a']).then((got) => got.equals(content))).resolves.toBe(false)
    await until(() => readFile(fileOf('c')).then(() => false, () => true))
    expect(await rig.agent('c').blobs.size(sha256)).toBeUndefined()
    expect((await read('c', ['a'])).equals(content)).toBe(true)
  }) // prettier-ignore

  it('fails when no holder can be reached, and on a full disk', async () => {
    await expect(read('b', ['a'])).rejects.toMatchObject({ code: 'node_unreachable' })
    await hold('a')
    rig.agent('c').space.full = true
    await expect(read('c', ['a'])).rejects.toMatchObject({ code: 'disk_low' })
  })
})
