// Images reach every node of a real cluster without a registry: each agent has an engine of its own.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Image } from '../../contract/index.ts'
import { buildBaseImage } from '../../resources/demo/base-image.ts'
import { eventually, Lab } from '../cluster/lab.ts'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'

describe('images without a registry', needs.engine, () => {
  let root: string
  let lab: Lab
  const engines: Engine[] = []

  beforeAll(async () => {
    // An engine's sockets need a short path.
    root = await mkdtemp('/tmp/i-')
    for (const name of ['a', 'b', 'c']) engines.push(await startEngine({ root: path.join(root, name) }))
    lab = await Lab.start({ docker: engines.map(({ socket }) => ({ socket })) })
  })
  afterAll(async () => {
    await lab?.stop()
    await Promise.all(engines.map((engine) => engine.stop()))
    await rm(root, { recursive: true, force: true })
  })

  const get = (name: string): Promise<Image> => lab.client().call('images.get', { params: { image: name } })

  async function importFile(file: string, query: { name?: string } = {}, at = 0): Promise<Image[]> {
    const body = new Blob([await readFile(file)])
    const response = await lab.client(lab.agents[at]).raw('images.import', { query }, body)
    return ((await response.json()) as { items: Image[] }).items
  }

  it('are imported once and run on every node, from the same digest', async () => {
    const file = path.join(root, 'base.tar')
    await buildBaseImage({ out: file })
    const [made] = await importFile(file, { name: 'lab/base:v1' })
    expect(made).toMatchObject({ names: ['lab/base:v1'], imported: true, copies: 2, layers: 1 })
    for (const { docker } of engines) expect(await docker.listImages()).toEqual([])
    const ids = new Set<string | null | undefined>()
    for (const { name } of lab.agents) {
      const { id } = await lab.submit({
        name: `on-${name}`,
        environment: { image: 'lab/base:v1' },
        command: 'echo ran; sleep 60',
        resources: 'cpu=2, memory=64Mi',
      })
      const running = await lab.until(id, ({ state }) => state === 'Running', 120)
      ids.add(running.tasks[0]?.image_id)
    }
    expect([...ids]).toEqual([expect.stringMatching(/^sha256:/)])
    await eventually('every engine is said to have it', async () => (await get('lab/base:v1')).nodes.every(({ engine }) => engine)) // prettier-ignore
    expect((await get('lab/base:v1')).last_used_at).not.toBeNull()
    for (const { docker } of engines) {
      const all = await docker.listImages()
      expect(all.map(({ RepoTags, RepoDigests }) => [RepoTags, RepoDigests ?? []])).toEqual([
        [['lab/base:v1'], []],
      ])
    }
  })
})
