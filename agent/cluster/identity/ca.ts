// @peculiar/x509 resolves its parts by decorators' metadata: this must come first.
import 'reflect-metadata'
import { createPrivateKey, hash, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  type JsonGeneralNames,
  Name,
  PemConverter,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  type PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate as Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { ProblemError } from '../../../contract/index.ts'

/** A certificate and its private key, both PEM. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

/**
 * What an agent shows and trusts in TLS, all PEM. `cert` may have links after it, by which older authorities vouch for
 * its own; `ca` may hold several authorities, the newest first.
 */
export interface Credentials extends Pair {
  readonly ca: string
}

export interface NodeCertificate {
  readonly ca: Pair
  /** PKCS#10, PEM: only its key is taken over; names come from the fields below. */
  readonly request: string
  readonly cluster: string
  readonly member: number
  /** Host name. */
  readonly name: string
  readonly ips: readonly string[]
  readonly now?: Date
}

const p256 = { name: 'ECDSA', namedCurve: 'P-256' }
const signing = { name: 'ECDSA', hash: 'SHA-256' }
const hour = 3_600_000
const day = 24 * hour
const newKeys = () => webcrypto.subtle.generateKey(p256, true, ['sign', 'verify'])

/** Lab hosts' clocks disagree: a certificate must already hold on a host that is a little behind. */
const notBefore = (now: Date) => new Date(now.getTime() - hour)

/** The cluster's own certificate authority. */
export async function createCa(name: string, now = new Date()): Promise<Pair> {
  const keys = await newKeys()
  // Typed, not as text: the name may hold characters that mean something in a distinguished name.
  const subject = new Name([{ CN: [{ utf8String: name }] }])
  const from = notBefore(now)
  const cert = await certify({ keys, subject, from, until: inTenYears(now), signingKey: keys.privateKey })
  return { cert, key: await exportKey(keys.privateKey) }
}

/**
 * The authority that takes an older one's place, and the link by which the old one vouches for it (RFC 4210 §4.4,
 * NewWithOld): whoever trusts the old one alone follows. Both have one name, so that the link does not count towards
 * the length of a path. The new one begins a second after the old one, which tells which is newer, and whether the clock
 * of whoever makes it is right does not matter.
 */
export async function succeedCa(old: Pair, now = new Date()): Promise<{ ca: Pair; link: string }> {
  const before = new Certificate(old.cert)
  const keys = await newKeys()
  const from = new Date(before.notBefore.getTime() + 1000)
  const common = { keys, subject: before.subjectName, from }
  const until = new Date(Math.max(inTenYears(now).getTime(), before.notAfter.getTime()))
  const cert = await certify({ ...common, until, signingKey: keys.privateKey })
  const link = await certify({
    ...common,
    until: before.notAfter,
    signingKey: await importKey(old.key),
    by: before,
  })
  return { ca: { cert, key: await exportKey(keys.privateKey) }, link }
}

const inTenYears = (now: Date) => new Date(now.getTime() + 3653 * day)

/** A certificate that may sign nodes': an authority's own, or one `by` another. */
async function certify(of: {
  readonly keys: webcrypto.CryptoKeyPair
  readonly subject: Name
  readonly from: Date
  readonly until: Date
  readonly signingKey: webcrypto.CryptoKey
  readonly by?: Certificate
}): Promise<string> {
  const { keys, subject, by } = of
  const cert = await X509CertificateGenerator.create(
    {
      serialNumber: newSerial(),
      subject,
      issuer: subject,
      notBefore: of.from,
      notAfter: of.until,
      publicKey: keys.publicKey,
      signingKey: of.signingKey,
      signingAlgorithm: signing,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        // Of one name, they are told apart by their keys.
        ...(by ? [await AuthorityKeyIdentifierExtension.create(by, false, webcrypto)] : []),
      ],
    },
    webcrypto,
  )
  return cert.toString('pem')
}

/** A node's key, made where it stays, and the request that asks the cluster to sign it. */
export async function createKeyAndRequest(): Promise<{ key: string; request: string }> {
  const keys = await newKeys()
  const request = await Pkcs10CertificateRequestGenerator.create(
    { name: [{ CN: ['node'] }], keys, signingAlgorithm: signing },
    webcrypto,
  )
  return { key: await exportKey(keys.privateKey), request: request.toString('pem') }
}

/** Throws ProblemError `invalid_request` when the request is not one this cluster signs. */
export async function signNode(options: NodeCertificate): Promise<string> {
  const publicKey = await requestedKey(options.request)
  return issue(publicKey, options, notBefore(options.now ?? new Date()))
}

/**
 * The certificate once more, for its old key. It is good from its authority's first day: whoever signs it may have a
 * clock that is far ahead, and it must count for hosts whose clocks are right.
 */
export async function renewNode(cert: string, options: Omit<NodeCertificate, 'request'>): Promise<string> {
  const [own = cert] = certificatesIn(cert)
  const { publicKey } = new Certificate(own)
  return issue(publicKey, options, new Certificate(options.ca.cert).notBefore)
}

async function issue(
  publicKey: PublicKey,
  options: Omit<NodeCertificate, 'request'>,
  from: Date,
): Promise<string> {
  const ca = new Certificate(options.ca.cert)
  const now = options.now ?? new Date()
  const cert = await X509CertificateGenerator.create(
    {
      serialNumber: newSerial(),
      subject: [{ CN: [`member-${options.member}`] }, { O: [options.cluster] }],
      issuer: ca.subjectName,
      notBefore: from,
      notAfter: new Date(now.getTime() + 365 * day),
      publicKey,
      signingKey: await importKey(options.ca.key),
      signingAlgorithm: signing,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        // Every agent is a server to people and both sides of the peer wire.
        new ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']),
        new SubjectAlternativeNameExtension(namesOf(options)),
        await SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await AuthorityKeyIdentifierExtension.create(ca, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return cert.toString('pem')
}

/** Whom a certificate names. It proves nothing by itself: the chain must have been verified. */
export function memberOf(cert: X509Certificate | string): { cluster: string; member: number } | undefined {
  const names = typeof cert === 'string' ? parse(cert)?.subjectAltName : cert.subjectAltName
  // Node quotes any name that holds a comma or a quote, so splitting cannot be tricked into seeing another one.
  const members = (names ?? '').split(', ').flatMap((name) => memberName.exec(name) ?? [])
  const [, cluster, member] = members
  return members.length === 3 && cluster && member ? { cluster, member: Number(member) } : undefined
}
const memberName = /^URI:urn:submarine:cluster:([A-Za-z0-9_-]{1,64}):member:([1-9][0-9]{0,14})$/

/** SHA-256 over the DER form, lower-case hex. */
export function fingerprint(pem: string): string {
  return hash('sha256', new X509Certificate(pem).raw, 'hex')
}

/** Is the certificate of one of these authorities, and the key its own? Dates are TLS's business. */
export function belongTogether({ ca, cert, key }: Credentials): boolean {
  const node = parse(cert)
  if (!node || issuerOf(node, certificatesIn(ca)) === undefined) return false
  try {
    return node.checkPrivateKey(createPrivateKey(key))
  } catch {
    return false
  }
}

/** Which of these authorities signed it itself; undefined when none did. */
export function issuerOf(cert: X509Certificate | string, authorities: readonly string[]): string | undefined {
  const node = typeof cert === 'string' ? parse(cert) : cert
  return authorities.find((pem) => {
    const issuer = parse(pem)
    return issuer?.ca && node?.checkIssued(issuer) && node.verify(issuer.publicKey)
  })
}

/** The certificates of a PEM text, each by itself. */
export const certificatesIn = (pem: string): string[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []).map((one) => `${one}\n`)

/** Certificates as one PEM text. */
export const bundle = (...certificates: readonly string[]): string =>
  [...new Set(certificates.flatMap(certificatesIn))].join('')

/** Of two authorities of a cluster: did the first one come after the second? */
export const isNewer = (ca: string, than: string): boolean =>
  new X509Certificate(ca).validFromDate > new X509Certificate(than).validFromDate

/** SHA-256 over the public key (SPKI, DER), lower-case hex: a node keeps its key, whoever signs its certificates. */
export const keyFingerprint = (cert: X509Certificate | string): string => {
  const { publicKey } = typeof cert === 'string' ? new X509Certificate(cert) : cert
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'hex')
}

function parse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    return undefined
  }
}

/** Throws ProblemError `invalid_request` when `signNode` would. */
export async function checkRequest(request: string): Promise<void> {
  await requestedKey(request)
}

async function requestedKey(pem: string): Promise<PublicKey> {
  let request: Pkcs10CertificateRequest
  try {
    request = new Pkcs10CertificateRequest(pem)
    if (!(await request.verify(webcrypto))) throw new Error('its signature is not by its own key')
  } catch (cause) {
    throw new ProblemError('invalid_request', `not a PKCS#10 certificate request: ${String(cause)}`, {
      cause,
    })
  }
  const { name, namedCurve } = request.publicKey.algorithm as { name: string; namedCurve?: string }
  if (name !== 'ECDSA' || namedCurve !== 'P-256')
    throw new ProblemError('invalid_request', 'the certificate request must hold an EC P-256 key')
  return request.publicKey
}

function namesOf({ cluster, member, name, ips }: Omit<NodeCertificate, 'request'>): JsonGeneralNames {
  const url = `urn:submarine:cluster:${cluster}:member:${member}`
  if (!memberName.test(`URI:${url}`)) throw new Error(`no certificate can name ${url}`)
  if (!/^[A-Za-z0-9._-]{1,253}$/.test(name)) throw new Error(`no certificate can name host ${name}`)
  const addresses = [...new Set(['127.0.0.1', '::1', ...ips.filter((ip) => isIP(ip) !== 0)])]
  return [
    { type: 'url', value: url },
    ...[...new Set(['localhost', 'host.docker.internal', name])].map((value) => ({
      type: 'dns' as const,
      value,
    })),
    ...addresses.map((value) => ({ type: 'ip' as const, value })),
  ]
}

/** Positive and of full length whatever the random bits are (RFC 5280 §4.1.2.2). */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return bytes.toString('hex')
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = PemConverter.decode(pem)
  if (!der) throw new Error('no private key in the PEM text')
  return webcrypto.subtle.importKey('pkcs8', der, p256, false, ['sign'])
}
