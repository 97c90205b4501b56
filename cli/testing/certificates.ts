import 'reflect-metadata'
import { webcrypto, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const makeKeys = () => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
const validity = (since = Date.now() - 60_000) => ({
  notBefore: new Date(since),
  notAfter: new Date(Date.now() + 3_600_000),
})

export interface TestAuthority {
  readonly ca: string
  readonly sha256: string
  /** Key and certificate of a server, signed by this authority. */
  issue(host?: string): Promise<{ key: string; cert: string }>
}

/** A private certificate authority as a cluster has one, made for one test run. */
export async function makeAuthority(name = 'test cluster', since?: number): Promise<TestAuthority> {
  const keys = await makeKeys()
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    ...validity(since),
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  })
  const ca = root.toString('pem')
  return {
    ca,
    sha256: new X509Certificate(ca).fingerprint256.replaceAll(':', '').toLowerCase(),
    issue: async (host = 'node-1') => {
      const own = await makeKeys()
      const certificate = await x509.X509CertificateGenerator.create({
        subject: `CN=${host}`,
        issuer: root.subject,
        ...validity(),
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: host }])],
      })
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', own.privateKey))
      const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64')}\n-----END PRIVATE KEY-----\n`
      return { key, cert: certificate.toString('pem') }
    },
  }
}
