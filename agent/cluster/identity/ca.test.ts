import 'reflect-metadata'
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509'
import { expect, test } from 'vitest'
import {
  belongTogether,
  checkRequest,
  createCa,
  createKeyAndRequest,
  fingerprint,
  memberOf,
  signNode,
} from './ca.ts'

const hour = 3_600_000

async function signed(more: Partial<Parameters<typeof signNode>[0]> = {}) {
  const ca = await createCa('lab')
  const { key, request } = await createKeyAndRequest()
  const fields = { ca, request, cluster: 'c-1', member: 7, name: 'host-7', ips: ['10.0.0.7', '2001:db8::7'] }
  return { ca, key, cert: await signNode({ ...fields, ...more }) }
}

test('the authority names the cluster, whatever is in its name, and holds ten years', async () => {
  const now = new Date('2026-01-01T00:00:00Z')
  for (const name of ['lab', 'Lab 3, "Vision" = ü']) {
    const { cert, key } = await createCa(name, now)
    const parsed = new X509Certificate(cert)
    expect(parsed.ca).toBe(true)
    expect(parsed.checkPrivateKey(createPrivateKey(key))).toBe(true)
    expect(parsed.toLegacyObject().subject.CN).toBe(name)
    expect(parsed.validFromDate.getTime()).toBe(now.getTime() - hour)
    expect(parsed.validToDate.toISOString().slice(0, 10)).toBe('2036-01-02')
  }
})

test('serial numbers are random, positive and long', async () => {
  const [a, b] = [await createCa('lab'), await createCa('lab')].map(
    (ca) => new X509Certificate(ca.cert).serialNumber,
  )
  expect(a).not.toBe(b)
  expect(a).toMatch(/^[4-7][0-9A-F]{31}$/)
})

test('a node certificate names the member, the host and its addresses, for a year from an hour ago', async () => {
  const now = new Date('2026-01-01T00:00:00Z')
  const { cert, ca, key } = await signed({ now })
  const parsed = new X509Certificate(cert)
  expect(memberOf(cert)).toEqual({ cluster: 'c-1', member: 7 })
  expect([parsed.validFromDate.getTime(), parsed.validToDate.toISOString()]).toEqual([
    now.getTime() - hour,
    '2027-01-01T00:00:00.000Z',
  ])
  for (const name of ['localhost', 'host-7']) expect(parsed.checkHost(name)).toBe(name)
  for (const ip of ['127.0.0.1', '::1', '10.0.0.7', '2001:db8::7']) expect(parsed.checkIP(ip)).toBe(ip)
  expect(parsed.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  expect(parsed.ca).toBe(false)
  expect(belongTogether({ ca: ca.cert, cert, key })).toBe(true)
})

test('certificate, key and authority of different hands do not belong together', async () => {
  const [one, other] = [await signed(), await signed()]
  const { ca, cert, key } = one
  expect(belongTogether({ ca: other.ca.cert, cert, key })).toBe(false)
  expect(belongTogether({ ca: ca.cert, cert, key: other.key })).toBe(false)
  expect(belongTogether({ ca: cert, cert, key })).toBe(false)
  expect(belongTogether({ ca: 'x', cert, key })).toBe(false)
  expect(belongTogether({ ca: ca.cert, cert, key: 'x' })).toBe(false)
})

test('who has no name, or two, is no member', async () => {
  const { ca } = await signed()
  expect(memberOf(ca.cert)).toBeUndefined()
  expect(memberOf('nonsense')).toBeUndefined()
  const name = 'URI:urn:submarine:cluster:c:member:1'
  const of = (subjectAltName: string) => memberOf({ subjectAltName } as X509Certificate)
  expect(of(name)).toEqual({ cluster: 'c', member: 1 })
  for (const names of [
    `${name}, ${name.replace('1', '2')}`,
    'URI:urn:submarine:cluster:c:member:0',
    'URI:urn:submarine:cluster:c:member:01',
    'URI:urn:submarine:cluster::member:1',
    'URI:urn:submarine:cluster:a:b:member:1',
    'DNS:urn:submarine:cluster:c:member:1',
    'URI:"urn:submarine:cluster:c:member:1"',
  ])
    expect(of(names)).toBeUndefined()
})

test.each([
  ['cluster', { cluster: 'a:member:1' }],
  ['cluster', { cluster: '' }],
  ['member', { member: 0 }],
  ['member', { member: 1.5 }],
  ['host name', { name: 'a, URI:urn:submarine:cluster:c:member:1' }],
])('no certificate is signed for a %s that could say something else', async (_, wrong) => {
  await expect(signed(wrong)).rejects.toThrow(/no certificate can name/)
})

test('requests that are damaged, signed by another key, or of a weak key are refused', async () => {
  const { request } = await createKeyAndRequest()
  await checkRequest(request)
  const flipped = Buffer.from(request.split('\n').slice(1, -1).join(''), 'base64')
  flipped[flipped.length - 5] = (flipped[flipped.length - 5] ?? 0) ^ 1
  const damaged = `-----BEGIN CERTIFICATE REQUEST-----\n${flipped.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
  const algorithm = { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const other = await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm }, crypto)
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  for (const bad of [
    '',
    'x',
    damaged,
    other.toString('pem'),
    publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  ])
    await expect(checkRequest(bad)).rejects.toMatchObject({ code: 'invalid_request' })
})

test('the fingerprint is the SHA-256 that openssl prints', async () => {
  const { cert } = await createCa('lab')
  const printed = new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase()
  expect(fingerprint(cert)).toBe(printed)
})
