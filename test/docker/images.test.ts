// Images reach every node of a real cluster without a registry: each agent has an engine of its own.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { layerOf, savedArchive } from '../../agent/services/testing/image-archives.ts'
import { findNode } from '../../cli/node24.js'
import { makeAuthority } from '../../cli/testing/certificates.ts'
import { type Image, isFinal } from '../../contract/index.ts'
import { buildBaseImage } from '../../resources/demo/base-image.ts'
import { eventually, freePorts, Lab } from '../cluster/lab.ts'
import { SlowLink } from '../cluster/slow-link.ts'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'

const MB = 1_000_000

describe('images without a registry', needs.engine, () => {
  let root: string
  let lab: Lab
  const engines: Engine[] = []
  const links: SlowLink[] = []

  beforeAll(async () => {
    // An engine's sockets need a short path.
    root = await mkdtemp('/tmp/i-')
    for (const name of ['a', 'b', 'c']) engines.push(await startEngine({ root: path.join(root, name) }))
    lab = await Lab.start({
      docker: engines.map(({ socket }) => ({ socket })),
      link: async ({ tls }) => {
        const link = await SlowLink.open(tls)
        links.push(link)
        return link.port
      },
    })
  })
  afterAll(async () => {
    await lab?.stop()
    links.forEach((link) => link.close())
    await Promise.all(engines.map((engine) => engine.stop()))
    await rm(root, { recursive: true, force: true })
  })

  const get = (name: string): Promise<Image> => lab.client().call('images.get', { params: { image: name } })

  async function send(body: Blob, query: { name?: string } = {}): Promise<Image[]> {
    const response = await lab.client().raw('images.import', { query }, body)
    return ((await response.json()) as { items: Image[] }).items
  }
  /** The command as people type it; answers what it printed. */
  async function cli(...args: string[]): Promise<string> {
    const env = {
      ...process.env,
      SUBMARINE_ADDRESS: lab.agents[0]?.url,
      SUBMARINE_TOKEN: lab.token,
      NO_COLOR: '1',
    }
    const child = spawn(findNode(), ['cli/index.ts', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    expect(child.exitCode, err).toBe(0)
    return out
  }
  const archive = (name: string, layers: Buffer[]) =>
    new Blob([new Uint8Array(savedArchive([{ layers, names: [name] }]))])
  const pull = (image: string, nodes: string[]) =>
    lab.client().call('images.pull', { body: { image, nodes } })

  /** As it was in the beginning: a second try of a test finds what the first one left. */
  async function clear(): Promise<void> {
    const client = lab.client()
    for (const link of links) link.rate = Infinity
    for (const agent of lab.agents) if (!agent.running) await agent.start()
    await lab.ready()
    const { items } = await client.call('experiments.list', {})
    for (const { id, state } of items) {
      if (!isFinal(state)) await client.call('experiments.stop', { params: { experiment: id } })
      await lab.ended(id)
    }
    for (const { docker } of engines) await clearEngine(docker)
    for (const { id, imported } of (await client.call('images.list', {})).items)
      if (imported) await client.call('images.remove', { params: { image: id } })
    await eventually('no image is known', async () => !(await client.call('images.list', {})).items.length)
  }

  it('are imported once and run on every node, from the same digest', async () => {
    await clear()
    const file = path.join(root, 'base.tar')
    await buildBaseImage({ out: file })
    expect(await cli('image', 'import', file, '--name', 'lab/base:v1')).toMatch(
      /^lab\/base:v1 .* in 1 layers on 2 nodes\n/,
    )
    const made = await get('lab/base:v1')
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
    await eventually('every engine is said to have it', async () =>
      (await get('lab/base:v1')).nodes.every(({ engine }) => engine),
    )
    expect((await get('lab/base:v1')).last_used_at).not.toBeNull()
    const [head, line] = (await cli('image', 'list')).split('\n')
    expect(head).toMatch(/^NAME .* host-1 +host-2 +host-3$/)
    expect(line?.match(/engine(\+layers)?/g)?.toSorted()).toEqual([
      'engine',
      'engine+layers',
      'engine+layers',
    ])
    for (const { docker } of engines) {
      const all = await docker.listImages()
      expect(all.map(({ RepoTags, RepoDigests }) => [RepoTags, RepoDigests ?? []])).toEqual([
        [['lab/base:v1'], []],
      ])
    }
  })

  it('share layers: one that a node has is not sent to it again', async () => {
    const [common, own] = [layerOf(randomBytes(8 * MB)), layerOf(randomBytes(1 * MB))]
    await send(archive('lab/one:v1', [common]))
    await send(archive('lab/two:v1', [common, own]))
    for (const name of ['lab/one:v1', 'lab/two:v1']) {
      const before = links.reduce((sum, { sent }) => sum + sent, 0)
      await pull(name, lab.agents.map((agent) => agent.name)) // prettier-ignore
      await eventually(`${name} is everywhere`, async () =>
        (await get(name)).nodes.every(({ engine, job }) => engine && !job),
      )
      // Two nodes keep the layers, so one more transfer brings them to all three.
      const after = links.reduce((sum, { sent }) => sum + sent, 0)
      expect(after - before).toBeLessThan(name === 'lab/one:v1' ? 12 * MB : 4 * MB)
    }
  })

  it('a source that is killed half-way is replaced by another one', async () => {
    const [made] = await send(archive('lab/large:v1', [layerOf(randomBytes(16 * MB))]))
    for (const agent of lab.agents) if (!agent.running) await agent.start()
    await lab.ready()
    const third = made?.nodes.findIndex(({ layers }) => !layers) ?? -1
    const from = links.map(({ sent }) => sent)
    for (const link of links) link.rate = 4 * MB
    await pull('lab/large:v1', [`host-${third + 1}`])
    let source = -1
    await eventually('it is on its way', () => {
      source = links.findIndex(({ sent }, at) => sent - (from[at] ?? 0) > 4 * MB)
      return source >= 0
    })
    const killed = lab.agents[source]
    await killed?.kill()
    for (const link of links) link.rate = Infinity
    await eventually('it is there', async () => (await get('lab/large:v1')).nodes[third]?.engine)
    expect(killed?.running).toBe(false)
    expect(source).not.toBe(third)
    // What came before is not sent again: both together gave little more than the layer.
    const given = links.reduce((sum, { sent }, at) => sum + sent - (from[at] ?? 0), 0)
    expect(given).toBeLessThan(26 * MB)
    await killed?.start()
    await lab.ready()
  })

  it('are removed from engines and freed when nobody uses them; the name of none is forgotten meanwhile', async () => {
    const client = lab.client()
    await send(archive('lab/two:v1', [layerOf(randomBytes(1 * MB))]))
    await pull('lab/two:v1', lab.agents.map((agent) => agent.name)) // prettier-ignore
    await eventually('lab/two is everywhere', async () => (await get('lab/two:v1')).nodes.every(({ engine, job }) => engine && !job)) // prettier-ignore
    const dry = await client.call('images.collect', { query: { unused_seconds: 0, dry_run: '1' } })
    expect(dry.engines.map(({ image }) => image)).not.toContain('lab/base:v1')
    expect(dry.engines.map(({ image }) => image)).toContain('lab/one:v1')
    await client.call('images.evict', { body: { image: 'lab/two:v1' } })
    await eventually('no engine has it', async () => {
      const { nodes } = await get('lab/two:v1')
      return nodes.every(({ engine, job }) => !engine && !job)
    })
    await client.call('images.evict', { body: { image: 'lab/base:v1', nodes: ['host-1'] } })
    await eventually('it says why not', async () => {
      const { nodes } = await get('lab/base:v1')
      return nodes[0]?.job?.reason?.code === 'image_in_use'
    })
    await client.call('images.remove', { params: { image: 'lab/two:v1' } })
    await expect(get('lab/two:v1')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('are for a task what its name meant when it was submitted, on every node', async () => {
    const one = (name: string, cpu: number) =>
      lab.submit({ name, environment: { image: 'lab/moving:v1' }, command: 'echo ran; sleep 60', resources: `cpu=${cpu}, memory=64Mi` }) // prettier-ignore
    const [engine] = engines
    if (!engine) throw new Error('expected an engine')
    /** The base image with one more variable, so that it is another image. */
    const another = async (value: string) => {
      const made = await engine.docker.createContainer({ Image: 'lab/base:v1' })
      await made.commit({ repo: 'lab/moving', tag: 'v1', changes: `ENV VALUE=${value}` })
      await made.remove()
      const chunks = await buffer(await engine.docker.getImage('lab/moving:v1').get())
      await engine.docker.getImage('lab/moving:v1').remove()
      const [image] = await send(new Blob([new Uint8Array(chunks)]))
      return image?.id
    }
    for (const { id, state } of (await lab.client().call('experiments.list', {})).items)
      if (!isFinal(state)) await lab.client().call('experiments.stop', { params: { experiment: id } }).then(() => lab.ended(id)) // prettier-ignore
    const first = await another(randomBytes(4).toString('hex'))
    for (const { name } of lab.agents) await lab.client().call('nodes.cordon', { params: { node: name }, body: { reason: '' } }) // prettier-ignore
    const before = [await one('before-1', 2), await one('before-2', 2)]
    const second = await another(randomBytes(4).toString('hex'))
    expect(second).not.toBe(first)
    const after = await one('after', 2)
    for (const { name } of lab.agents) await lab.client().call('nodes.uncordon', { params: { node: name } })
    const ids = new Map<string, string | null | undefined>()
    for (const { id, name } of [...before, after])
      ids.set(name, (await lab.until(id, ({ state }) => state === 'Running', 120)).tasks[0]?.image_id)
    expect(ids.get('before-1')).toMatch(/^sha256:/)
    expect(ids.get('before-2')).toBe(ids.get('before-1'))
    expect(ids.get('after')).not.toBe(ids.get('before-1'))
    expect(await get('lab/moving:v1')).toMatchObject({ id: second, names: ['lab/moving:v1'] })
    for (const { id } of [...before, after]) await lab.client().call('experiments.stop', { params: { experiment: id } }) // prettier-ignore
    for (const { id } of [...before, after]) await lab.ended(id)
  })

  it(
    'come from a private registry with the credentials that the cluster was told',
    needs.registry,
    async () => {
      const authority = await makeAuthority('a registry')
      const registry = await startRegistry(path.join(root, 'registry'), await authority.issue('localhost'))
      try {
        const image = `${registry.host}/lab/private:v1`
        await registry.push(engines[0] as Engine, image)
        const reasons = async () => {
          const { items } = await lab.client().call('images.list', {})
          const found = items.find(({ names }) => names.includes(image))
          return found?.nodes.map(({ job, engine }) => (engine ? 'there' : job?.reason?.message))
        }
        const elsewhere = ['host-2', 'host-3']
        const refused = async (why: string) =>
          (await reasons())?.slice(1).every((reason) => reason?.includes(why))
        await pull(image, elsewhere)
        await eventually('refused without a password', () => refused('could not be pulled'))
        const add = (password: string) =>
        lab.client().call('registries.add', { body: { host: registry.host, user: 'ana', password, ca: authority.ca } }) // prettier-ignore
        await add('another password')
        await pull(image, elsewhere)
        await eventually('refused with a wrong one', () => refused('refuses lab/private to the user ana'))
        const added = await add(registry.password)
        expect(added).toMatchObject({ host: registry.host, user: 'ana', ca: true, insecure: false })
        await pull(image, elsewhere)
        await eventually('it is there', async () => (await reasons())?.every((reason) => reason === 'there'))
        const [, second] = await Promise.all(engines.map(({ docker }) => docker.getImage(image).inspect()))
        expect(second?.RepoTags).toEqual([image])
        const { items } = await lab.client().call('events.list', {})
        const told = JSON.stringify([items, await lab.client().call('registries.list', {})])
        const logs = await Promise.all(lab.agents.map((agent) => agent.log()))
        for (const text of [told, ...logs]) expect(text).not.toContain(registry.password)
      } finally {
        await registry.stop()
      }
    },
  )
})

async function clearEngine(docker: Engine['docker']): Promise<void> {
  // Its agent clears them away.
  await eventually('no container is left', async () => !(await docker.listContainers({ all: true })).length)
  for (const { Id } of await docker.listImages()) await docker.getImage(Id).remove({ force: true })
}

/** Debian's docker-registry, with TLS and a password for ana. */
async function startRegistry(folder: string, { key, cert }: { key: string; cert: string }) {
  const [port] = await freePorts(1)
  const password = 'a password of the lab'
  const at = (name: string) => `${folder}-${name}`
  await writeFile(at('key.pem'), key)
  await writeFile(at('cert.pem'), cert)
  // bcrypt of the password above.
  await writeFile(at('users'), 'ana:$2b$05$gdFdCRXsT5LyRgj9PEOOKePyyrdmdoMGrhIJJZa9/JXm/oFhsDyFO\n')
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: at('data') } },
    http: {
      addr: `127.0.0.1:${port}`,
      secret: 'x',
      tls: { certificate: at('cert.pem'), key: at('key.pem') },
    },
    auth: { htpasswd: { realm: 'lab', path: at('users') } },
  }
  await writeFile(at('config.yml'), JSON.stringify(config))
  const child = spawn('docker-registry', ['serve', at('config.yml')], { stdio: 'ignore' })
  const host = `localhost:${port}`
  return {
    host,
    password,
    /** Put a small image there through an engine, which then has it too. */
    push: async ({ docker }: Engine, image: string) => {
      const archive = savedArchive([{ layers: [layerOf(randomBytes(100))], names: [image] }])
      const load = await docker.loadImage(Readable.from([archive]))
      await eventually('it is loaded', () => docker.getImage(image).inspect().catch(() => load.resume() && undefined)) // prettier-ignore
      const authconfig = { username: 'ana', password, serveraddress: host }
      await eventually('the registry took it', async () => {
        const progress = await docker.getImage(image).push({ authconfig })
        return /"Digest":"sha256/.test(await text(progress))
      })
    },
    stop: async () => {
      const gone = once(child, 'exit')
      child.kill()
      await gone
    },
  }
}
