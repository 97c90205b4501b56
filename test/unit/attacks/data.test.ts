import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { storeArchive } from '../../../agent/services/images/archive.ts'
import { savedArchive, tarOf } from '../../../agent/services/testing/image-archives.ts'
import { admin, GiB, World } from '../../../agent/services/testing/world.ts'
import { createImages } from '../../../agent/services/images.ts'
import { createNodes } from '../../../agent/services/nodes.ts'
import { createLogs } from '../../../agent/services/logs.ts'
import { guarded, guardedLookup } from '../../../agent/outgoing.ts'
import { type Actor, ImageJob, isOfHost, LdapSettings, OidcSettings, parseSpec, RegistryInput } from '../../../contract/index.ts' // prettier-ignore
import { Agent, fetch } from 'undici'

let world: World
beforeEach(async () => {
  world = await World.create(2)
  for (const name of ['ana', 'otto']) world.addUser(name)
})
afterEach(() => world.close())

const ana: Actor = { kind: 'user', name: 'ana', rank: 'member' }
const otto: Actor = { kind: 'user', name: 'otto', rank: 'member' }

describe('attack: an archive that is small on its way and large on the disk', () => {
  it('is refused as an image before its content is written', async () => {
    const bomb = gzipSync(savedArchive([{ layers: [Buffer.alloc(4 * 1024 * 1024)], names: ['lab/bomb'] }]))
    expect(bomb.length).toBeLessThan(64 * 1024)
    const images = createImages(world.deps(undefined, { maxUpload: 1024 * 1024 }))
    await expect(images.import(admin, Readable.from([bomb]), {})).rejects.toMatchObject({ code: 'too_large' })
  })
  it('is refused for the sum of its files too, and not for one that fits', async () => {
    const files = { a: Buffer.alloc(600), b: Buffer.alloc(600) }
    const take = (most: number) => storeArchive(Readable.from([gzipSync(tarOf(files))]), world.blobs, most)
    await expect(take(1000)).rejects.toMatchObject({ code: 'too_large' })
    expect((await take(1200)).files.size).toBe(2)
  })
})

describe('attack: reading of what is somebody else’s beside the lists', () => {
  it('a node tells whose work holds its GPUs, and the id only to those who may know of it', async () => {
    world.report('node-1', { gpuIds: ['GPU-1'] })
    const resources = { cpu: 1, memory: GiB, gpu: 1, disk: 0 }
    const roles = { worker: { replicas: 1, resources, command: ['true'], env: {} } }
    const spec = { name: 'secret-plan', type: 'script' as const, tags: [], roles }
    const task = 'secret-plan-worker-0'
    world.log.propose(
      { type: 'experiment.create', id: 'secret-plan', spec, owner: 'ana' },
      { kind: 'system' },
    )
    const place = { task, attempt: 1, node: 'node-1', runtime: 'docker', gpus: ['GPU-1'] } as const
    world.log.propose({ type: 'workload.place', id: 'secret-plan', placements: [place] }, { kind: 'system' })
    const nodes = createNodes(world.deps())
    const held = async (actor: Actor) =>
      (await nodes.get(actor, 'node-1', { consistency: 'strong' })).gpus_held.map((each) => each.task)
    expect(await held(ana)).toEqual([task])
    expect(await held(otto)).toEqual(['work of ana'])
    const list = await nodes.list(otto, { page_size: 10, consistency: 'strong' })
    expect(JSON.stringify(list)).not.toContain('secret-plan')
  })

  it('a log is told no further once it is shared no longer', async () => {
    const [task = ''] = world.submit('shown', {
      owner: 'ana',
      sharing: { visibility: 'everyone', shares: [] },
    })
    world.run('shown')
    const line = (l: string) => ({ t: '2026-03-01T08:00:00Z', s: 'o' as const, l })
    await world.streams.append({ task, attempt: 1, kind: 'log' }, [line('for all')])
    const control = new AbortController()
    const lines = await createLogs(world.deps()).open(otto, 'shown', { follow: true }, control.signal)
    const reader = lines[Symbol.asyncIterator]()
    expect(await reader.next()).toMatchObject({ value: { data: { text: 'for all' } } })
    const sharing = { visibility: 'private', shares: [] } as const
    world.log.propose({ type: 'experiment.share', id: 'shown', sharing: { ...sharing, shares: [] } }, admin)
    await world.streams.append({ task, attempt: 1, kind: 'log' }, [line('for ana')])
    await expect(reader.next()).rejects.toMatchObject({ code: 'not_found' })
    control.abort()
  })
})

describe('attack: an address that leads our requests to the host’s own services', () => {
  const hosts = ['169.254.169.254', '169.254.170.2:80', '[fe80::1]', '[::ffff:169.254.169.254]', '0xa9.0xfe.0xa9.0xfe', 'metadata.google.internal', '[fd00:ec2::254]'] // prettier-ignore

  it.each(hosts)('%s is no registry, no directory, no provider, and no image comes from it', (host) => {
    expect(isOfHost(host)).toBe(true)
    expect(RegistryInput.safeParse({ host }).success).toBe(false)
    expect(LdapSettings.safeParse({ kind: 'ldap', urls: [`ldap://${host}`], user_base: 'dc=lab' }).success).toBe(false) // prettier-ignore
    expect(OidcSettings.safeParse({ kind: 'oidc', issuer: `https://${host}`, client_id: 'c' }).success).toBe(false) // prettier-ignore
    const spec = { name: 'x', command: 'true', environment: { image: `${host}/latest/x` } }
    expect('errors' in parseSpec(spec)).toBe(true)
    expect(ImageJob.safeParse({ image: `${host}/latest/x` }).success).toBe(false)
  })
  it.each(['10.0.0.5:5000', 'registry.lab', '127.0.0.1:5000', 'localhost:5000', '192.168.1.2'])('%s of a lab may be', (host) => {
    expect(isOfHost(host)).toBe(false)
    expect(RegistryInput.safeParse({ host }).success).toBe(true)
    expect(LdapSettings.safeParse({ kind: 'ldap', urls: [`ldap://${host}`], user_base: 'dc=lab' }).success).toBe(true)
  }) // prettier-ignore
  it('is refused too where a name or a redirect leads to it', async () => {
    const resolve = resolvingTo('169.254.169.254')
    const refused = await new Promise((done) => resolve('harmless.example', {}, (error) => done(error)))
    expect(refused).toMatchObject({ message: expect.stringContaining('169.254.169.254') })
    await expect(fetch('http://169.254.169.254/latest', { dispatcher: new Agent({ connect: guarded({}) }) })).rejects.toMatchObject({ cause: { message: expect.stringContaining('not asked') } }) // prettier-ignore
  })
})

const resolvingTo = (address: string) =>
  guardedLookup((_host, _options, done) => done(null, [{ address, family: 4 }]))
