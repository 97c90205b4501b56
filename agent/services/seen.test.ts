import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Actor, TeamRank, UserActor } from '../../contract/index.ts'
import { createEvents } from './events.ts'
import { createExperiments } from './experiments.ts'
import { createExplanations } from './explanations.ts'
import { World } from './testing/world.ts'
import { createUsage } from './usage.ts'
import { explanationFor } from './seen.ts'
import { type WatchItem, Watch } from './watch.ts'

let world: World
beforeEach(async () => {
  world = await World.create(1)
  for (const name of ['ana', 'mia', 'otto']) world.addUser(name)
  world.addTeam('bio', { ana: 'member', mia: 'admin' })
})
afterEach(() => world.close())

const person = (name: string, teams: Record<string, TeamRank> = {}): UserActor => ({ kind: 'user', name, rank: 'member', teams }) // prettier-ignore
const ana = person('ana', { bio: 'member' })
const otto = person('otto')
const strong = { consistency: 'strong' } as const
const spec = {
  name: 'x',
  command: 'true',
  environment: { image: 'busybox' },
  resources: 'cpu=1, memory=64Mi',
}

describe('work for a team', () => {
  const submit = (actor: Actor, team: string) =>
    createExperiments(world.deps()).create(actor, { ...spec, team }, { dryRun: false })

  it('is submitted by its members alone', async () => {
    expect((await submit(ana, 'bio')).spec.team).toBe('bio')
    await expect(submit(otto, 'bio')).rejects.toMatchObject({ code: 'forbidden', message: 'you are no member of the team bio' }) // prettier-ignore
  })

  it('needs that there is such a team', async () => {
    await expect(submit(ana, 'bios')).rejects.toMatchObject({ code: 'invalid_spec', errors: [{ pointer: '/team', message: 'there is no team bios' }] }) // prettier-ignore
  })
})

describe('uploaded code', () => {
  it('is run by whoever sent it, and by those who read an experiment that runs it', async () => {
    const { sha256, bytes } = world.blobs.add('print(1)')
    world.log.propose({ type: 'blob.create', sha256, bytes, holders: ['node-1'], by: 'user:ana' }, ana)
    const experiments = createExperiments(world.deps())
    const submit = (actor: Actor, more: object = {}) =>
      experiments.create(actor, { ...spec, code: { upload: sha256 }, ...more }, { dryRun: false })
    const unknown = { code: 'invalid_spec', errors: [{ pointer: '/code/upload' }] }
    await expect(submit(otto)).rejects.toMatchObject(unknown)
    const { id } = await submit(ana)
    await expect(submit(otto)).rejects.toMatchObject(unknown)
    world.log.propose({ type: 'experiment.share', id, sharing: { visibility: 'everyone', shares: [] } }, ana)
    expect((await submit(otto)).owner).toBe('otto')
  })
})

describe('why something waits', () => {
  it('names work of others by whose it is, where its name is not for them', async () => {
    world.submit('secret', { owner: 'ana', replicas: 8 })
    world.run('secret')
    const { id } = await createExperiments(world.deps()).create(otto, spec, { dryRun: false })
    const text = JSON.stringify(await createExplanations(world.deps()).get(otto, id, strong))
    expect(text).toContain('"owner":"ana"')
    expect(text).not.toContain('secret')
    const all = await createExplanations(world.deps()).get({ kind: 'user', name: 'admin', rank: 'admin' }, id, strong) // prettier-ignore
    expect(all.nodes[0]?.holders.map(({ workload }) => workload)).toContain('secret')
  })

  it('does not tell why work of others waits, which is written for those who know of it', async () => {
    world.submit('theirs', { owner: 'ana' })
    const { id } = await createExperiments(world.deps()).create(otto, spec, { dryRun: false })
    const made = await createExplanations(world.deps()).get(otto, id, strong)
    const ahead = [{ workload: 'theirs', name: 'theirs', owner: 'ana', why: 'the room is kept for hidden' }]
    const seen = (actor: Actor) => explanationFor(actor, world.cluster.state(), { ...made, ahead }).ahead
    expect(seen(ana)).toEqual(ahead)
    expect(seen(otto)).toEqual([{ workload: '', name: 'work of ana', owner: 'ana', why: 'is placed first' }])
  })
})

describe('usage', () => {
  it('is one’s own, and that of teams one answers for', async () => {
    for (const [id, more] of [['own', { owner: 'ana' }], ['team', { owner: 'ana', team: 'bio' }]] as const) {
      world.submit(id, more)
      world.run(id)
    } // prettier-ignore
    world.now += 3600_000
    const seen = async (actor: Actor) =>
      (await createUsage(world.deps()).report(actor, { by: 'workload' })).rows.map(({ workload }) => workload)
    expect(await seen(ana)).toEqual(['own', 'team'])
    expect(await seen(person('mia', { bio: 'admin' }))).toEqual(['team'])
    expect(await seen(otto)).toEqual([])
  })
})

describe('events', () => {
  it('of others do not keep one’s own from being found', async () => {
    world.submit('mine', { owner: 'otto' })
    for (let at = 0; at < 20; at++) world.submit(`theirs-${at}`, { owner: 'ana' })
    const page = await createEvents(world.deps()).list(otto, { page_size: 3, ...strong })
    expect(page.items.some(({ subject }) => subject.id.startsWith('theirs'))).toBe(false)
    expect(page.items.some(({ subject }) => subject.id.startsWith('mine'))).toBe(true)
  })
})

describe('the watch', () => {
  async function told(actor: Actor, change: () => void): Promise<string[]> {
    const watch = new Watch({ cluster: world.cluster })
    const end = new AbortController()
    const items: WatchItem[] = []
    const reading = (async () => {
      for await (const item of watch.open(actor, { kinds: 'experiment' }, end.signal)) items.push(item)
    })()
    change()
    await new Promise((resolve) => setImmediate(resolve))
    end.abort()
    await reading
    watch.close()
    return items.flatMap(({ data }) => (data.kind === 'experiment' ? [`${data.type} ${data.object.id}`] : []))
  }
  const share = (visibility: 'private' | 'everyone') =>
    world.log.propose({ type: 'experiment.share', id: 'one', sharing: { visibility, shares: [] } }, ana)

  it('tells that something came when it is shared, and that it went when it is not any more', async () => {
    world.submit('one', { owner: 'ana' })
    expect(await told(otto, () => share('everyone'))).toEqual(['ADDED one'])
    expect(await told(otto, () => share('private'))).toEqual(['DELETED one'])
    expect(await told(ana, () => share('everyone'))).toEqual(['MODIFIED one'])
  })

  it('begins anew for somebody who comes into a team, or leaves it', async () => {
    const watch = new Watch({ cluster: world.cluster })
    const before = world.cluster.status().applied
    world.addTeam('nlp', { otto: 'member' })
    const open = (actor: Actor) =>
      watch.open(actor, { kinds: 'experiment', after: before }, AbortSignal.abort())
    expect(() => open(otto)).toThrow(expect.objectContaining({ code: 'watch_expired' }))
    expect(() => open(ana)).not.toThrow()
    watch.close()
  })
})
