import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { KerberosSettings } from '../../../contract/index.ts'
import { kerberosConfig } from './config.ts'
import { noTicket } from './failure.ts'
import { expiryIn, getTicket } from './kinit.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'kinit-test-'))
  // The programs run as somebody else.
  await chmod(root, 0o755)
})
afterEach(() => rm(root, { recursive: true, force: true }))

/** A program of the lab's own in place of the host's. */
async function program(name: string, script: string): Promise<string> {
  const file = path.join(root, name)
  await writeFile(file, `#!/bin/sh\n${script}\n`)
  await chmod(file, 0o755)
  return file
}
const listing = 'echo "11/24/26 10:42:00  11/24/26 20:42:00  krbtgt/LAB.EXAMPLE@LAB.EXAMPLE"'
const keytab = Buffer.from([5, 2, 104, 117, 110, 116, 101, 114, 50])
const ask = async (kinit: string, limitMs?: number) =>
  getTicket({
    principal: 'ana@LAB.EXAMPLE',
    keytab,
    config: 'the configuration',
    folder: path.join(root, 'ticket'),
    uid: 20_001,
    programs: { kinit, klist: await program('klist', listing) },
    ...(limitMs === undefined ? {} : { limitMs }),
  })

describe('a ticket', () => {
  it('is got with nothing but a name on the command line and in the environment; the keytab goes', async () => {
    process.env['OF_THE_AGENT'] = 'not for others'
    const kinit = await program(
      'kinit',
      'cat keytab "$KRB5_CONFIG" >ticket; echo "$@" >said; env >>said; id -u >>said',
    )
    const ticket = await ask(kinit).finally(() => delete process.env['OF_THE_AGENT'])
    expect(ticket.expiresAt).toBe(Date.parse('2026-11-24T20:42:00Z'))
    expect(await readFile(ticket.file)).toEqual(Buffer.concat([keytab, Buffer.from('the configuration')]))
    const said = await readFile(path.join(path.dirname(ticket.file), 'said'), 'utf8')
    expect(said).toMatch(/^-k -t FILE:keytab -c FILE:ticket ana@LAB\.EXAMPLE\n/)
    expect(said).not.toMatch(/OF_THE_AGENT|hunter2/)
    if (process.getuid?.() === 0) expect(said).toMatch(/\n20001\n$/)
    expect(await readdir(path.dirname(ticket.file))).not.toContain('keytab')
  })

  it('that a host cannot ask for is told so, and so is one that never comes', async () => {
    await expect(ask(path.join(root, 'none'))).rejects.toMatchObject({
      code: 'kerberos_missing',
      message: expect.stringContaining('krb5-user') as string,
    })
    await rm(path.join(root, 'ticket'), { recursive: true })
    const hanging = ask(await program('kinit', 'exec sleep 1000'), 50)
    await expect(hanging).rejects.toMatchObject({ code: 'kerberos_unreachable', passing: true })
    expect(await readdir(path.join(root, 'ticket'))).toEqual(['krb5.conf'])
  })

  it.each([
    ["Cannot contact any KDC for realm 'LAB.EXAMPLE' while getting initial credentials", 'kerberos_unreachable', true],
    ["Cannot find KDC for realm 'LAB.EXAMPLE' while getting initial credentials", 'kerberos_unreachable', true],
    ['Clock skew too great while getting initial credentials', 'kerberos_clock', true],
    ['Keytab contains no suitable keys for ana@LAB.EXAMPLE while getting initial credentials', 'kerberos_principal', false],
    ['Pre-authentication failed: Unsupported key table format version number while getting', 'kerberos_keytab', false],
    ['Preauthentication failed while getting initial credentials', 'kerberos_keytab', false],
    ["Client 'ana@LAB.EXAMPLE' not found in Kerberos database while getting", 'kerberos_principal', false],
    ["Client's credentials have been revoked while getting initial credentials", 'kerberos_locked', false],
    ["Client's entry in database has expired while getting initial credentials", 'kerberos_locked', false],
    ['Something new\nthat nobody knows', 'kerberos_failed', false],
  ])('%s: %s', (says, code, passing) => {
    const failure = noTicket(`kinit: ${says}\n`, 'ana@LAB.EXAMPLE')
    expect(failure).toMatchObject({ code, passing })
    expect(failure.message).toMatch(/^There is no Kerberos ticket for ana@LAB\.EXAMPLE[.:] \S/)
  }) // prettier-ignore

  it('whose end klist does not tell is none', () => {
    expect(() => expiryIn('klist: No credentials cache found', 'ana@LAB.EXAMPLE')).toThrow(/when it ends/)
  })
})

describe('the realms', () => {
  it('stand in the configuration as an admin named them, and nothing else can', () => {
    const settings = KerberosSettings.parse({
      realms: [
        { realm: 'LAB.EXAMPLE', kdcs: ['kdc1.lab.example', '[fd00::5]:88'], domains: ['.lab.example'] },
        { realm: 'OTHER.EXAMPLE', kdcs: ['10.0.0.5:750'] },
      ],
    })
    const config = kerberosConfig(settings, 'OTHER.EXAMPLE')
    expect(config).toContain('default_realm = OTHER.EXAMPLE\n')
    expect(config).toContain('LAB.EXAMPLE = {\n    kdc = kdc1.lab.example\n    kdc = [fd00::5]:88\n  }\n')
    expect(config).toContain('  .lab.example = LAB.EXAMPLE\n')
    for (const bad of [
      { realm: 'LAB.EXAMPLE', kdcs: ['kdc\n[plugins]'] },
      { realm: 'LAB.EXAMPLE', kdcs: ['kdc }'] },
      { realm: 'LAB.EXAMPLE', kdcs: ['169.254.169.254:80'] },
      { realm: 'LAB.EXAMPLE', kdcs: [] },
      { realm: 'LAB.EXAMPLE', kdcs: ['http://kdc'] },
      { realm: 'lab.example', kdcs: ['kdc'] },
      { realm: 'LAB = {', kdcs: ['kdc'] },
      { realm: 'LAB.EXAMPLE', kdcs: ['kdc'], domains: ['x = Y'] },
    ])
      expect(KerberosSettings.safeParse({ realms: [bad] }).success, JSON.stringify(bad)).toBe(false)
  })
})
