// A directory of Debian's slapd, for tests: a process of its own in a folder of its own, with people and groups.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createCa, createKeyAndRequest, signNode } from '../../agent/cluster/identity/ca.ts'

export const base = 'dc=lab,dc=example'
export const searcher = { dn: `cn=submarine,${base}`, password: 'searches (only)' }

/** Whom the directory knows; passwords are `NAME's password`. */
const people: readonly (readonly [rdn: string, uid: string, more?: string])[] = [
  ['uid=ana', 'ana', 'displayName: Ana Müller\nmail: ana@lab.example'],
  ['uid=ben', 'ben', 'mail: ben@lab.example'],
  ['uid=chris', 'chris'],
  ['cn=Dörte (D)\\, Dr.', 'doerte', 'cn: Dörte (D), Dr.'],
  ['uid=eve@lab.example', 'eve@lab.example'],
  ['uid=mallory@elsewhere.example', 'mallory@elsewhere.example'],
]

const dnOf = (rdn: string) => `${rdn},ou=people,${base}`
const group = (name: string) => `cn=${name},ou=groups,${base}`

/** `deep` is in `ml`, which is in `staff`, which is in `ml` again: a circle. */
const groups: Readonly<Record<string, readonly string[]>> = {
  deep: [dnOf('uid=ana')],
  ml: [group('deep'), group('staff'), dnOf('uid=ben')],
  staff: [group('ml'), dnOf('cn=Dörte (D)\\, Dr.')],
  admins: [dnOf('uid=ana')],
  vision: [dnOf('uid=chris')],
}

export interface DirectoryServer {
  /** Plain, with StartTLS offered; TLS from the start. */
  readonly ldap: string
  readonly ldaps: string
  /** The same at an address that its certificate does not name. */
  readonly misnamed: readonly string[]
  /** The authority of its certificate. */
  readonly ca: string
  stop(): Promise<void>
}

export async function startDirectory(): Promise<DirectoryServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'submarine-slapd-'))
  const ca = await createCa('directory')
  const { key, request } = await createKeyAndRequest()
  const cert = await signNode({ ca, request, cluster: 'directory', member: 1, name: 'localhost', ips: [] })
  const file = (name: string) => path.join(folder, name)
  await mkdir(file('data'))
  await Promise.all([
    writeFile(file('key.pem'), key, { mode: 0o600 }),
    writeFile(file('cert.pem'), cert),
    writeFile(file('ca.pem'), ca.cert),
    writeFile(file('slapd.conf'), configuration(folder)),
    writeFile(file('content.ldif'), content()),
  ])
  const added = spawnSync('/usr/sbin/slapadd', ['-f', file('slapd.conf'), '-l', file('content.ldif')], {
    encoding: 'utf8',
  })
  if (added.status !== 0) throw new Error(`slapadd: ${added.stderr}`)
  const [plain, tls] = await freePorts()
  const [ldap, ldaps] = [`ldap://127.0.0.1:${plain}`, `ldaps://127.0.0.1:${tls}`]
  const misnamed = [ldap, ldaps].map((url) => url.replace('127.0.0.1', '127.0.0.2'))
  const args = ['-f', file('slapd.conf'), '-h', [ldap, ldaps, ...misnamed].join(' '), '-d', '0']
  const child = spawn('/usr/sbin/slapd', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  await answering(child, plain)
  return {
    ldap,
    ldaps,
    misnamed,
    ca: ca.cert,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const configuration = (folder: string) => `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile ${folder}/cert.pem
TLSCertificateKeyFile ${folder}/key.pem
TLSCACertificateFile ${folder}/ca.pem
pidfile ${folder}/slapd.pid
# As many directories do: nobody reads without an account, and a bind without a password is no sign-in.
disallow bind_anon
database mdb
maxsize 16777216
suffix "${base}"
rootdn "cn=root,${base}"
rootpw root
directory ${folder}/data
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="${searcher.dn}" read by * none
`

function content(): string {
  const org = `dn: ${base}\nobjectClass: dcObject\nobjectClass: organization\no: lab\ndc: lab`
  const unit = (name: string) => `dn: ou=${name},${base}\nobjectClass: organizationalUnit\nou: ${name}`
  const account = `dn: ${searcher.dn}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: submarine\nuserPassword: ${searcher.password}`
  const persons = people.map(
    ([rdn, uid, more = '']) =>
      `${ldifDn(dnOf(rdn))}\nobjectClass: inetOrgPerson\nuid: ${uid}\ncn: ${uid}\nsn: ${uid}\nuserPassword: ${uid}'s password\n${memberships(dnOf(rdn))}${ldifLines(more)}`,
  )
  const sets = Object.entries(groups).map(
    ([name, members]) =>
      `dn: ${group(name)}\nobjectClass: groupOfNames\ncn: ${name}\n${members.map((dn) => ldif('member', dn)).join('\n')}`,
  )
  return [org, unit('people'), unit('groups'), account, ...persons, ...sets].join('\n\n') + '\n'
}

/** slapadd runs no overlays: what `memberof` would have written. */
const memberships = (dn: string) =>
  Object.entries(groups)
    .filter(([, members]) => members.includes(dn))
    .map(([name]) => `memberOf: ${group(name)}\n`)
    .join('')

const ldif = (name: string, value: string) => `${name}:: ${Buffer.from(value).toString('base64')}`
const ldifDn = (dn: string) => ldif('dn', dn)
const ldifLines = (lines: string) =>
  lines
    .split('\n')
    .filter(Boolean)
    .map((line) => ldif(line.split(': ')[0] ?? '', line.split(': ')[1] ?? ''))
    .join('\n')

async function freePorts(): Promise<[number, number]> {
  const servers = [0, 1].map(() => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const [one, two] = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return [one ?? 0, two ?? 0]
}

async function answering(child: ChildProcess, port: number): Promise<void> {
  let said = ''
  child.stderr?.on('data', (part: Buffer) => (said += part.toString()))
  const deadline = performance.now() + 20_000
  for (;;) {
    if (child.exitCode !== null) throw new Error(`slapd ended with ${child.exitCode}: ${said}`)
    if (await answers(port)) return
    if (performance.now() > deadline) throw new Error(`slapd does not answer: ${said}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
