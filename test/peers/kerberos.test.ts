import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, Lab } from '../cluster/lab.ts'
import { allOf, faketime, needs } from '../setup/needs.ts'
import { TestRealm } from '../setup/realm.ts'

describe('tickets of a real Kerberos realm', allOf(needs.kerberos, needs.faketime), () => {
  let realm: TestRealm
  let lab: Lab
  beforeAll(async () => {
    realm = await TestRealm.start()
    realm.admin('addprinc -randkey HTTP/web.lab.test')
    for (const name of ['ana', 'ben', 'locked']) realm.admin(`addprinc -randkey +requires_preauth ${name}`)
    // Short-lived, as the lab's own policy may be.
    realm.admin('addprinc -randkey +requires_preauth -maxlife "5 seconds" brief')
    lab = await Lab.start({ agents: 1 })
  })
  afterAll(async () => {
    await lab?.stop()
    await realm?.stop()
  })

  const setRealm = () =>
    lab.client().call('kerberos.set', {
      body: { realms: [{ realm: realm.realm, kdcs: [realm.kdc], domains: ['.lab.test'] }] },
    })
  const keep = (name: string, keytab: Buffer, principal: string) =>
    lab.client().call('secrets.put', {
      params: { secret: name },
      body: {
        value: keytab.toString('base64'),
        encoding: 'base64',
        kind: 'keytab',
        principal: `${principal}@${realm.realm}`,
      },
    })
  const submit = (command: string, secret: 'hdfs' | { name: string; file: string } = 'hdfs') =>
    lab.submit({
      name: 'ticket',
      command: ['sh', '-c', command],
      resources: 'cpu=0.1, memory=64Mi',
      secrets: [secret],
    })
  const taskOf = async (id: string) =>
    (await lab.client().call('experiments.get', { params: { experiment: id }, query: {} })).tasks[0]
  /** What is said of it while it has a reason of this code. */
  const told = async (id: string, code: string): Promise<string> => {
    let message = ''
    await eventually(`the reason is ${code}`, async () => {
      const { reason } = (await taskOf(id)) ?? {}
      message = reason?.message ?? ''
      return reason?.code === code
    })
    return message
  }

  it('are for realms that an admin named, and secrets that are keytabs', async () => {
    const keytab = await realm.keytab('ana')
    await keep('hdfs', keytab, 'ana')
    await expect(submit('true')).rejects.toMatchObject({
      code: 'invalid_spec',
      message: expect.stringContaining(`does not know the realm ${realm.realm}`) as string,
    })
    await setRealm()
    await expect(keep('broken', Buffer.from('no keytab'), 'ana')).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  it('a task finds one, gets tickets for services with it, and is not given the keytab', async () => {
    const keytab = await realm.keytab('ana')
    await keep('hdfs', keytab, 'ana')
    const { id } = await submit(
      'klist && kvno HTTP/web.lab.test && ls $SUBMARINE_SECRETS && stat -c "mode %a" ${KRB5CCNAME#FILE:}',
    )
    const done = await lab.ended(id)
    const log = (await lab.logOf(id)).join('\n')
    expect(done.state, log + JSON.stringify(done)).toBe('Succeeded')
    expect(log).toContain(`Default principal: ana@${realm.realm}`)
    expect(log).toMatch(/HTTP\/web\.lab\.test@LAB\.TEST: kvno = 1\nkrb5\.conf\nkrb5cc\nmode 600$/)
    const asFile = await submit('cmp $SUBMARINE_SECRETS/k $SUBMARINE_SECRETS/k && ls $SUBMARINE_SECRETS', {
      name: 'hdfs',
      file: 'k',
    })
    await lab.ended(asFile.id)
    expect(await lab.logOf(asFile.id)).toEqual(['k'])
    expect(await placesOf(keytab.subarray(-24), lab.folder)).toEqual([])
  })

  it('is renewed while the task runs, whatever becomes of the realm and the agent, and gone after it', async () => {
    await keep('hdfs', await realm.keytab('brief'), 'brief')
    const next =
      'next() { a=$(klist | grep krbtgt); until b=$(klist | grep krbtgt) && [ "$a" != "$b" ]; do sleep 0.1; done; kvno HTTP/web.lab.test && echo renewed; }'
    const { id } = await submit(`${next}; next; next; while :; do next; done`)
    const renewals = async () => (await lab.logOf(id)).filter((line) => line === 'renewed').length
    await eventually('it has got further tickets', async () => (await renewals()) >= 2)
    await realm.pause()
    expect(await told(id, 'kerberos_unreachable')).toMatch(/is not renewed: .*ends at 20/)
    expect((await taskOf(id))?.state).toBe('Running')
    const before = await renewals()
    const [agent] = lab.agents
    await agent?.kill()
    await realm.resume()
    await agent?.start()
    await eventually('it goes on with another agent process', async () => (await renewals()) > before)
    await eventually('the reason is gone', async () => (await taskOf(id))?.reason === null)
    const { items } = await lab.client().call('events.list', { query: { page_size: 200 } })
    expect(items.map(({ code }) => code)).toContain('task.troubled')
    await lab.client().call('secrets.delete', { params: { secret: 'hdfs' } })
    expect(await told(id, 'kerberos_principal')).toContain(
      'The secret admin/hdfs has no principal any more, or is gone.',
    )
    await lab.client().call('experiments.stop', { params: { experiment: id } })
    await lab.ended(id)
    const left = async () =>
      (await readdir('/dev/shm', { recursive: true })).filter((name) => name.includes(id))
    await eventually('nothing of it is left in memory', async () => (await left()).length === 0)
  })

  it('that cannot be had are told with what would be right', async () => {
    const former = await realm.keytab('ben')
    await realm.keytab('ben')
    const other = await realm.keytab('ana')
    const locked = await realm.keytab('locked')
    realm.admin('modprinc -allow_tix locked')
    for (const [keytab, principal, code, says] of [
      [former, 'ben', 'kerberos_keytab', /changed since.*Export the keytab anew/],
      [other, 'zoe', 'kerberos_principal', /no key for zoe@LAB\.TEST/],
      [locked, 'locked', 'kerberos_locked', /the account is locked/],
      [Buffer.from([5, 2, 0, 0]), 'ana', 'kerberos_principal', /no key for ana@LAB\.TEST/],
    ] as const) {
      await keep('hdfs', keytab, principal)
      const { id } = await submit('true')
      expect((await lab.ended(id)).state).toBe('Failed')
      const task = await taskOf(id)
      expect(task?.reason?.code, task?.reason?.message).toBe(code)
      expect(task?.reason?.message).toMatch(says)
    }
  })

  it('are waited for while the realm is away, or its clock is wrong', async () => {
    await keep('hdfs', await realm.keytab('ana'), 'ana')
    await realm.pause()
    const { id } = await submit('klist -s')
    expect(await told(id, 'kerberos_unreachable')).toContain('submarine kerberos get')
    await realm.resume({ LD_PRELOAD: faketime, FAKETIME: '+1h' })
    expect(await told(id, 'kerberos_clock')).toContain('time server')
    await realm.pause()
    await realm.resume()
    const done = await lab.ended(id)
    expect(done.state, (await lab.logOf(id)).join('\n')).toBe('Succeeded')
  })
})

/** Files below a folder that hold the bytes, as they are or in base64. */
async function placesOf(bytes: Buffer, folder: string): Promise<string[]> {
  const forms = [bytes, ...[0, 1, 2].map((at) => Buffer.from(bytes.subarray(at).toString('base64').slice(0, 24)))]
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath, entry.name)
    const content = await readFile(file).catch(() => Buffer.alloc(0))
    if (forms.some((form) => content.includes(form))) found.push(file)
  }
  return found
} // prettier-ignore
