import { beforeEach, expect, it } from 'vitest'
import type { Actor, ProblemError } from '../../contract/index.ts'
import { openEnvelope, sealEnvelope } from '../cluster/identity/envelope.ts'
import { newClusterKey, seal as sealText } from '../cluster/identity/seal.ts'
import { openForTask } from '../cluster/secret-access.ts'
import { plan } from '../scheduler/plan.ts'
import { calm } from '../scheduler/surroundings.ts'
import { createExperiments } from './experiments.ts'
import { createKerberos } from './kerberos.ts'
import { createSecrets } from './secrets.ts'
import { admin, World } from './testing/world.ts'

const key = newClusterKey()
const value = 'hunter2-hunter2'
const ana: Actor = { kind: 'user', name: 'ana', rank: 'member' }
const ben: Actor = { kind: 'user', name: 'ben', rank: 'member' }
let world: World
beforeEach(async () => {
  world = await World.create(2)
  for (const name of ['ana', 'ben']) world.addUser(name)
})
const deps = () =>
  world.deps(world.cluster, { seal: async (text, context) => sealEnvelope(key, text, context) })
const codeOf = (promise: Promise<unknown>) => promise.then(() => 'none', ({ code }: ProblemError) => code) // prettier-ignore
const submit = (actor: Actor, secrets: readonly unknown[]) =>
  createExperiments(deps()).create(
    actor,
    { name: 'x', command: 'true', resources: 'cpu=1, memory=1Gi', secrets },
    { dryRun: false },
  )

it('is kept sealed and never told; in no row, event or answer is a byte of it', async () => {
  const service = createSecrets(deps())
  const answers = [
    await service.put(ana, 's3', { value, encoding: 'text', kind: 's3' }),
    await service.list(ana, { page_size: 10, consistency: 'strong' }),
  ]
  const kept = JSON.stringify([answers, world.log.events, world.log.state])
  for (const form of [value, Buffer.from(value).toString('base64')]) expect(kept).not.toContain(form)
  expect(JSON.stringify(answers)).not.toContain('e1~')
  expect((await service.put(ana, 's3', { value: 'new', encoding: 'text' })).version).toBe(2)
  expect(await codeOf(service.get(ben, 'ana/s3', { consistency: 'strong' }))).toBe('not_found')
})

it('is for work of its owner and of whom it is shared with, not of every admin', async () => {
  const service = createSecrets(deps())
  await service.put(ana, 's3', { value, encoding: 'text' })
  expect((await submit(ana, ['s3'])).spec.secrets).toEqual([{ name: 's3', file: 's3' }])
  for (const other of [ben, admin]) expect(await codeOf(submit(other, ['ana/s3']))).toBe('invalid_spec')
  await service.share(ana, 's3', { visibility: 'private', shares: [{ with: 'user:ben', level: 'run' }] })
  expect(await codeOf(submit(ben, [{ name: 'ana/s3', env: 'KEY' }]))).toBe('none')
  expect(await codeOf(submit({ ...ben, scopes: ['experiment:*'] }, ['ana/s3']))).toBe('invalid_spec')
})

it('of a keytab gives a ticket, the keytab where a file is asked for, and neither of a realm nobody named', async () => {
  const service = createSecrets(deps())
  const keytab = Buffer.from([5, 2, 0, 0, 0, 0]).toString('base64')
  const given = { value: keytab, encoding: 'base64', kind: 'keytab' } as const
  expect(await service.put(ana, 'hdfs', { ...given, principal: 'ana@LAB.EXAMPLE' })).toMatchObject({
    principal: 'ana@LAB.EXAMPLE',
  })
  expect(await codeOf(submit(ana, ['hdfs']))).toBe('invalid_spec')
  const kerberos = createKerberos(deps())
  await kerberos.set(admin, { realms: [{ realm: 'LAB.EXAMPLE', kdcs: ['kdc'], domains: [] }] })
  await expect(submit(ana, ['hdfs'])).rejects.toMatchObject({
    code: 'never_fits',
    message: expect.stringContaining('none has kinit') as string,
  })
  world.report('node-2', { kerberos: '1.20.1' })
  expect((await submit(ana, ['hdfs'])).spec.secrets).toEqual([{ name: 'hdfs', ticket: true }])
  expect(plan(world.log.state, calm(world.now)).place.flatMap(({ placements }) => placements)).toMatchObject([
    { node: 'node-2' },
  ])
  const asFile = [{ name: 'hdfs', file: 'k' }]
  expect((await submit(ana, asFile)).spec.secrets).toEqual(asFile)
  // What is not said again stays.
  expect(await service.put(ana, 'hdfs', given)).toMatchObject({ principal: 'ana@LAB.EXAMPLE', version: 2 })
  await service.put(ana, 'other', given)
  expect((await submit(ana, ['other'])).spec.secrets).toEqual([{ name: 'other', file: 'other' }])
  for (const wrong of [[{ name: 'other', ticket: true }], ['hdfs', { name: 'hdfs', ticket: true }], ['hdfs', { name: 'other', file: 'krb5cc' }]])
    expect(await codeOf(submit(ana, wrong)), JSON.stringify(wrong)).toBe('invalid_spec')
}) // prettier-ignore

it('with a principal is a keytab, and nothing else', async () => {
  const service = createSecrets(deps())
  const principal = 'ana@LAB.EXAMPLE'
  for (const wrong of [
    { value, encoding: 'text', kind: 's3', principal },
    { value, encoding: 'text', kind: 'keytab', principal },
  ] as const)
    expect(await codeOf(service.put(ana, 'hdfs', wrong))).toBe('invalid_request')
})

it('opens for the node that its task is on, while its owner may use it', async () => {
  const service = createSecrets(deps())
  await service.put(ana, 's3', { value, encoding: 'text' })
  const { id, tasks } = await submit(ana, ['s3'])
  world.run(id)
  const task = tasks[0]?.id ?? ''
  const { node, attempt } = world.log.state.tasks.get(task) ?? {}
  const asked = { task, attempt: attempt ?? 0, id: 'ana/s3' }
  const open = (from: string, more = {}) =>
    openForTask(
      world.log.state,
      from,
      { ...asked, ...more },
      { open: (sealed, context) => openEnvelope(key, sealed, context) },
    )
  expect(Buffer.from(open(node ?? ''), 'base64').toString()).toBe(value)
  expect(() => open(node === 'node-1' ? 'node-2' : 'node-1')).toThrow(/no task/)
  expect(() => open(node ?? '', { attempt: 99 })).toThrow(/no task/)
  await service.put(ana, 'git', { value, encoding: 'text' })
  expect(() => open(node ?? '', { id: 'ana/git' })).toThrow(/not submitted/)
  await service.delete(ana, 's3')
  expect(() => open(node ?? '')).toThrow(/may not use/)
})

it('an envelope opens by its key and for its place alone; what was sealed before there were any opens too', () => {
  const sealed = sealEnvelope(key, value, 'secret:a/b@1')
  expect(openEnvelope(key, sealed, 'secret:a/b@1')).toBe(value)
  expect(() => openEnvelope(key, sealed, 'secret:a/b@2')).toThrow()
  expect(() => openEnvelope(newClusterKey(), sealed, 'secret:a/b@1')).toThrow()
  expect(openEnvelope(key, sealText(key, value, 'registry:r'), 'registry:r')).toBe(value)
})
