import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ExperimentSpec, Image } from '../../contract/index.ts'
import { createExperiments } from './experiments.ts'
import { createImages, type ImageService } from './images.ts'
import { layerOf, layoutArchive, savedArchive, tarOf } from './testing/image-archives.ts'
import { admin, World } from './testing/world.ts'

let world: World
let images: ImageService
beforeEach(async () => {
  world = await World.create(3)
  images = createImages(world.deps())
})
afterEach(() => world.close())

const send = async (archive: Buffer, name?: string): Promise<Image[]> =>
  (await images.import(admin, Readable.from([archive]), { name })).items
const list = async (imported = false) =>
  (await images.list(admin, { page_size: 100, consistency: 'strong', imported })).items
const onNodes = (image: Image | undefined) =>
  image?.nodes.map(({ engine, layers }) => `${engine ? 'E' : '-'}${layers ? 'L' : '-'}`)

const [base, tool] = [layerOf('base'), layerOf('tool')]

describe('importing', () => {
  it('takes what docker save wrote, with a layer that two images share', async () => {
    const archive = savedArchive([
      { layers: [base, tool], names: ['lab/tool:v1', 'docker.io/lab/tool:latest'] },
      { layers: [base], names: ['python'] },
    ])
    const made = await send(gzipSync(archive))
    expect(made).toMatchObject([
      { names: ['lab/tool:v1', 'lab/tool:latest'], layers: 2, copies: 2, platforms: [{ os: 'linux', architecture: 'amd64' }] },
      { names: ['python:latest'], layers: 1, created_at: '2026-01-02T03:04:05.678Z', imported_by: 'user:admin' },
    ]) // prettier-ignore
    const [row] = [...world.cluster.state().images.values()]
    const [manifest] = row?.manifests ?? []
    expect(manifest?.layers.map(({ bytes }) => bytes)).toEqual([base.length, tool.length])
    for (const blob of [manifest, manifest?.config, ...(manifest?.layers ?? [])])
      expect(await world.blobs.size(blob?.digest.slice(7) ?? '')).toBe(blob?.bytes)
    expect(await list(true)).toHaveLength(2)
    expect(onNodes((await list())[0])).toEqual(['-L', '-L', '--'])
  })

  it('takes an OCI layout for several kinds of machine as one image', async () => {
    const archive = layoutArchive(
      [
        { architecture: 'amd64', layers: [base] },
        { architecture: 'arm64', layers: [tool] },
      ],
      'docker.io/library/multi:1',
    )
    const [made] = await send(archive)
    expect(made).toMatchObject({ names: ['multi:1'], copies: 2 })
    expect(made?.platforms.map(({ architecture }) => architecture)).toEqual(['amd64', 'arm64'])
    expect(await images.get(admin, 'docker.io/multi:1', { consistency: 'strong' })).toEqual(made)
    expect(await images.get(admin, made?.id ?? '', { consistency: 'strong' })).toEqual(made)
  })

  it('gives the same image the same digest, whoever saved it how often', async () => {
    const [first] = await send(savedArchive([{ layers: [base], names: ['one:1'] }]))
    const [again] = await send(savedArchive([{ layers: [base], names: ['two:1'] }]))
    expect(again).toMatchObject({ id: first?.id, names: ['one:1', 'two:1'] })
  })

  it('has two nodes that hold all of it, also when one was silent in between', async () => {
    const places = ['node-2', 'node-3']
    let asked = 0
    world.blobs.replicate = async () => ['node-1', places[asked++ === 1 ? 1 : 0] ?? '']
    const [made] = await send(savedArchive([{ layers: [base, tool], names: ['lab/tool:v1'] }]))
    expect(onNodes(made)).toEqual(['-L', '-L', '--'])
    world.blobs.replicate = async () => ['node-1']
    await expect(send(savedArchive([{ layers: [base], names: ['a:1'] }]))).rejects.toThrow('no second node')
  })

  it('moves a name to the newest image that got it', async () => {
    const [old] = await send(savedArchive([{ layers: [base] }]), 'tool:v1')
    const [now] = await send(savedArchive([{ layers: [tool] }]), 'tool:v1')
    expect(await images.get(admin, 'tool:v1', { consistency: 'strong' })).toMatchObject({ id: now?.id })
    expect(await images.get(admin, old?.id ?? '', { consistency: 'strong' })).toMatchObject({ names: [] })
  })

  it.each([
    ['no tar at all', Buffer.from('hello'.repeat(500)), /no image archive/],
    ['a code folder', tarOf({ 'main.py': 'print()' }), /neither a manifest.json nor an index.json/],
    ['one cut off', savedArchive([{ layers: [base], names: ['a:1'] }]).subarray(0, 1500), /no image archive/],
    ['one without its layer', tarOf({ 'c.json': JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { diff_ids: [] } }), 'manifest.json': JSON.stringify([{ Config: 'c.json', RepoTags: ['a:1'], Layers: ['x/layer.tar'] }]) }), /names 0 layers, not 1/],
    ['one without a name', savedArchive([{ layers: [base] }]), /does not say what the image/],
  ] as const)('refuses %s', async (_, archive, why) => {
    await expect(send(archive as Buffer)).rejects.toMatchObject({ code: 'invalid_request', message: expect.stringMatching(why) })
    expect(world.cluster.state().images.size).toBe(0)
  }) // prettier-ignore

  it('refuses a layout whose blob is not what its name says', async () => {
    const damaged = layoutArchive([{ layers: [base] }], 'a:1')
    const at = damaged.indexOf('"architecture":"amd64"')
    damaged.write('"architecture":"amd65"', at)
    await expect(send(damaged)).rejects.toThrow('is damaged')
  })

  it('refuses one name for several images, and a name that Docker would not take', async () => {
    const two = savedArchive([
      { layers: [base], names: ['a:1'] },
      { layers: [tool], names: ['b:1'] },
    ])
    await expect(send(two, 'both:1')).rejects.toThrow('holds 2 images')
  })
})

describe('what nodes have', () => {
  const engineHas = (node: string, id: string, names: string[], brought: 'cluster' | 'registry' | null = 'cluster') =>
    world.log.propose(
      { type: 'node.images', node, images: [{ id, names, bytes: 100, os: 'linux', architecture: 'amd64', brought, since: '2026-01-01T00:00:00.000Z' }] },
      { kind: 'node', node },
    ) // prettier-ignore
  const configOf = (id: string) => world.cluster.state().images.get(id)?.manifests[0]?.config.digest ?? ''

  it('shows imported images and those that only engines have, node by node', async () => {
    const [made] = await send(savedArchive([{ layers: [base], names: ['tool:v1'] }]))
    engineHas('node-3', configOf(made?.id ?? ''), ['tool:v1'])
    engineHas('node-2', `sha256:${'ab'.repeat(32)}`, ['own:1'], null)
    const found = await list()
    expect(found.map(({ names }) => names)).toEqual([['tool:v1'], ['own:1']])
    expect(found.map(onNodes)).toEqual([
      ['-L', '-L', 'E-'],
      ['--', 'E-', '--'],
    ])
  })

  it('asks nodes to pull, tells why one could not, and forgets what is done', async () => {
    await send(savedArchive([{ layers: [base], names: ['tool:v1'] }]))
    expect(await images.ask(admin, 'pull', { image: 'tool:v1', nodes: ['host-2', 'node-3'] })).toEqual({ image: 'tool:v1', nodes: ['host-2', 'host-3'] }) // prettier-ignore
    const reason = { code: 'image_missing', message: 'no disk' }
    world.log.propose({ type: 'image.done', node: 'node-2', image: 'tool:v1', reason }, { kind: 'node', node: 'node-2' }) // prettier-ignore
    world.log.propose(
      { type: 'image.done', node: 'node-3', image: 'tool:v1' },
      { kind: 'node', node: 'node-3' },
    )
    const [image] = await list()
    expect(image?.nodes.map(({ job }) => job)).toEqual([null, { kind: 'pull', reason }, null])
    expect(world.log.events.map(({ code }) => code)).toEqual(expect.arrayContaining(['image.pull_asked', 'image.pull_failed', 'image.pulled'])) // prettier-ignore
    await expect(images.ask(admin, 'pull', { image: 'tool:v1', nodes: ['host-9'] })).rejects.toMatchObject({ code: 'not_found' }) // prettier-ignore
  })

  it('is removed by name, then whole; not while something waits for it', async () => {
    const [made] = await send(savedArchive([{ layers: [base], names: ['tool:v1', 'tool:v2'] }]))
    const resources = { cpu: 1, memory: 1, gpu: 0, disk: 0 }
    const image = 'docker.io/library/tool:v1'
    const roles = { worker: { replicas: 1, image, resources, command: ['true'], env: {} } }
    const spec: ExperimentSpec = { name: 'x', type: 'script', tags: [], roles }
    world.log.propose({ type: 'experiment.create', id: 'exp-1', spec, owner: 'admin' }, admin)
    await expect(images.remove(admin, 'tool:v1')).rejects.toMatchObject({ code: 'conflict' })
    await images.remove(admin, 'tool:v2')
    await expect(images.remove(admin, made?.id ?? '')).rejects.toMatchObject({ code: 'conflict' })
    world.log.propose({ type: 'experiment.stop', id: 'exp-1' }, admin)
    await images.remove(admin, 'tool:v1')
    expect(world.cluster.state().images.size).toBe(0)
  })

  it('is taken away by whoever imported it, and by admins', async () => {
    for (const name of ['ana', 'otto']) world.addUser(name)
    const [ana, otto] = (['ana', 'otto'] as const).map(
      (name) => ({ kind: 'user', name, rank: 'member' }) as const,
    )
    if (!ana || !otto) throw new Error('expected two people')
    await images.import(ana, Readable.from([savedArchive([{ layers: [tool], names: ['hers:v1'] }])]), {})
    await expect(images.remove(otto, 'hers:v1')).rejects.toMatchObject({ code: 'forbidden' })
    await images.remove(ana, 'hers:v1')
    expect(world.cluster.state().images.size).toBe(0)
  })

  it('is what an experiment runs that was submitted with its name, although the name moves on', async () => {
    const experiments = createExperiments(world.deps())
    const submit = (image: string) =>
      experiments.create(admin, { name: 'x', command: 'true', environment: { image } }, { dryRun: false })
    const [old] = await send(savedArchive([{ layers: [base], names: ['tool:v1'] }]))
    const first = await submit('docker.io/library/tool:v1')
    expect(first.spec.roles.worker).toMatchObject({
      image: 'docker.io/library/tool:v1',
      image_digest: old?.id,
    })
    const [now] = await send(savedArchive([{ layers: [tool], names: ['tool:v1'] }]))
    expect((await submit('tool:v1')).spec.roles.worker?.image_digest).toBe(now?.id)
    expect((await submit('python:3.12')).spec.roles.worker).not.toHaveProperty('image_digest')
    // It has no name any more, and is still needed.
    await expect(images.remove(admin, old?.id ?? '')).rejects.toMatchObject({ code: 'conflict' })
    world.now += 3600_000
    const { cluster } = await images.collect(admin, { unused_seconds: 0, dry_run: true })
    expect(cluster).toEqual([])
    world.log.propose({ type: 'experiment.stop', id: first.id }, admin)
    await images.remove(admin, old?.id ?? '')
  })

  it('is freed when nobody used it, but never the only copy, nor what is wanted or somebody else brought', async () => {
    const [kept] = await send(savedArchive([{ layers: [base], names: ['kept:1'] }]))
    const [copy] = await send(savedArchive([{ layers: [tool], names: ['copied:1'] }]))
    engineHas('node-1', configOf(copy?.id ?? ''), ['copied:1'], null)
    engineHas('node-2', configOf(kept?.id ?? ''), ['kept:1'])
    engineHas('node-3', `sha256:${'cd'.repeat(32)}`, ['orphan:1'])
    world.now += 3600_000
    const dry = await images.collect(admin, { unused_seconds: 0, dry_run: true })
    expect(dry.engines).toEqual([{ node: 'host-2', image: 'kept:1', bytes: 100 }])
    expect(dry.cluster.map(({ image }) => image)).toEqual(['copied:1'])
    expect(dry.kept).toEqual([
      { image: 'orphan:1', why: 'host-3: it is the only copy' },
      { image: 'kept:1', why: 'it is the only copy' },
    ])
    expect(world.cluster.state().imageJobs.size).toBe(0)
    await images.collect(admin, { unused_seconds: 0, dry_run: false })
    expect([...world.cluster.state().imageJobs.keys()]).toEqual(['node-2/kept:1'])
    expect([...world.cluster.state().images.values()].map(({ names }) => names)).toEqual([['kept:1']])
  })

  it('is kept as long as the policy says', async () => {
    await images.setPolicy(admin, { engine_unused_seconds: null, cluster_unused_seconds: null })
    await send(savedArchive([{ layers: [base], names: ['tool:v1'] }]))
    engineHas('node-2', [...world.cluster.state().images.values()][0]?.manifests[0]?.config.digest ?? '', [
      'tool:v1',
    ])
    expect(await images.collect(admin, { dry_run: true })).toEqual({ engines: [], cluster: [], kept: [] })
  })
})
