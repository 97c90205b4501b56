import { X509Certificate } from 'node:crypto'
import { Agent, request } from 'undici'
import { ProblemError } from '../../contract/problem.ts'

export interface Authority {
  pem: string
  fingerprint: string
}

/**
 * The CA as an agent shows it before anything is trusted: nothing secret is sent on this connection, and the answer
 * counts only once a person has confirmed its fingerprint.
 */
export async function fetchUnverifiedAuthority(origin: string): Promise<Authority> {
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false, timeout: 5000 } })
  try {
    const signal = AbortSignal.timeout(10_000)
    const { statusCode, body } = await request(`${origin}/api/v2/ca.pem`, { dispatcher, signal })
    const text = (await body.text()).slice(0, 64 * 1024)
    if (statusCode !== 200) throw new Error(`HTTP ${statusCode}`)
    return readAuthority(text)
  } catch (cause) {
    throw new ProblemError('no_leader', `no agent answers at ${origin}`, {
      hint: 'Check the address, and that the agent runs.',
      cause,
    })
  } finally {
    await dispatcher.destroy()
  }
}

export function readAuthority(text: string): Authority {
  const certificate = new X509Certificate(text)
  const fingerprint = certificate.fingerprint256.replaceAll(':', '').toLowerCase()
  return { pem: certificate.toString(), fingerprint }
}

/**
 * Trusts certificates of this CA and of nothing else. Names are not compared: the CA signs agents of this one
 * cluster only, any of which may answer any request, and hosts change their addresses.
 */
export function pinnedAgent(ca: string | undefined): Agent {
  return new Agent({
    connect: { timeout: 3000, ...(ca ? { ca: [ca], checkServerIdentity: () => undefined } : {}) },
    // Streams carry a comment now and then; one silent for longer has a dead peer.
    bodyTimeout: 45_000,
  })
}
