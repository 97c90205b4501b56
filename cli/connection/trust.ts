import { X509Certificate } from 'node:crypto'
import { Agent, fetch } from 'undici'
import { UsageError } from '../failure.ts'

/** A CA certificate as PEM with its SHA-256 in lower-case hex. */
export interface Authority {
  pem: string
  sha256: string
}

export function readAuthority(pem: string, source: string): Authority {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(pem)
  } catch {
    throw new UsageError(`${source} holds no certificate`, "Give the cluster's CA certificate as PEM.")
  }
  const sha256 = certificate.fingerprint256.replaceAll(':', '').toLowerCase()
  return { pem: certificate.toString(), sha256 }
}

/**
 * The CA as the agent itself shows it, before anything is trusted: nothing secret is sent on this connection, and the
 * answer counts only once its fingerprint is confirmed.
 */
export async function fetchUnverifiedAuthority(origin: string): Promise<Authority> {
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false, timeout: 5000 } })
  try {
    const response = await fetch(`${origin}/api/v2/ca.pem`, {
      dispatcher,
      redirect: 'error',
      signal: AbortSignal.timeout(10_000),
    })
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    return readAuthority((await response.text()).slice(0, 64 * 1024), `${origin}/api/v2/ca.pem`)
  } finally {
    await dispatcher.destroy()
  }
}

/** `SHA256:AB:CD…`, `abcd…`: as browsers, openssl and this program write it. */
export function readFingerprint(text: string): string {
  const hex = text
    .trim()
    .replace(/^sha-?256[:=]?/i, '')
    .replaceAll(/[:\s]/g, '')
    .toLowerCase()
  if (/^[0-9a-f]{64}$/.test(hex)) return hex
  throw new UsageError(
    'not a SHA-256 fingerprint',
    'It has 64 hex digits; an agent prints it when it starts.',
  )
}

export const formatFingerprint = (sha256: string): string =>
  sha256.toUpperCase().match(/../g)?.join(':') ?? sha256
