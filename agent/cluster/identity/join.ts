import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import {
  type JoinRequest,
  JoinReply,
  Problem,
  type ProblemCode,
  ProblemError,
} from '../../../contract/index.ts'
import { tlsEndpoint } from './address.ts'
import { fingerprint, memberOf } from './ca.ts'
import { type JoinTicket, parseJoinToken } from './join-token.ts'

export interface Joiner {
  readonly name: string
  /** HOST:PORT the others will reach this agent by. */
  readonly address: string
  /** PKCS#10, PEM. */
  readonly request: string
}

export interface JoinOptions {
  /** How often all addresses are tried: an election, or a first voter still starting, takes a moment. */
  readonly rounds?: number
  readonly pauseMs?: number
  readonly timeoutMs?: number
}

/** Another address may do better with these; with all others the answer would be the same everywhere. */
const elsewhere: readonly ProblemCode[] = [
  'no_leader',
  'busy',
  'node_unreachable',
  'internal',
  'rate_limited',
]

/** Ask the cluster to take this host in. Throws the ProblemError it answered, or `node_unreachable` with each address's reason. */
export async function requestJoin(
  token: string,
  joiner: Joiner,
  options: JoinOptions = {},
): Promise<JoinReply> {
  const ticket = parseJoinToken(token)
  const { rounds = 3, pauseMs = 1000, timeoutMs = 15_000 } = options
  let failures = new Map<string, ProblemError>()
  for (let round = 0; round < rounds; round++) {
    if (round > 0) await pause(pauseMs)
    failures = new Map()
    for (const address of ticket.addresses) {
      try {
        return await askOne(ticket, address, joiner, timeoutMs)
      } catch (error) {
        const problem = asProblem(error)
        if (!elsewhere.includes(problem.code)) throw problem
        failures.set(address, problem)
      }
    }
  }
  const [first] = failures.values()
  const all = [...failures].map(([address, error]) => `${address}: ${error.message}`).join('; ')
  throw new ProblemError(first?.code === 'no_leader' ? 'no_leader' : 'node_unreachable', all, {
    hint: 'Check that the agents at these addresses run and that this host reaches them.',
  })
}

async function askOne(
  ticket: JoinTicket,
  address: string,
  joiner: Joiner,
  timeoutMs: number,
): Promise<JoinReply> {
  const signal = AbortSignal.timeout(timeoutMs)
  const ca = await pinnedCa(ticket, address, signal)
  const body: JoinRequest = { secret: ticket.secret, ...joiner }
  const [status, answer] = await post(address, ca, JSON.stringify(body), signal)
  if (status !== 201) {
    const problem = Problem.safeParse(answer)
    if (!problem.success) throw new ProblemError('internal', `unexpected answer: HTTP ${status}`)
    const { code, detail, title, hint } = problem.data
    throw new ProblemError(code, detail ?? title, { hint })
  }
  const reply = JoinReply.safeParse(answer)
  if (!reply.success)
    throw new ProblemError('internal', 'the cluster answered something else than a join reply')
  checkReply(reply.data, ca)
  return reply.data
}

/**
 * The CA's certificate out of the chain that is presented there, known by the token's pin. It is public, so anybody
 * can present it: the connection that carries the secret is a second one, fully verified against it.
 */
async function pinnedCa(ticket: JoinTicket, address: string, signal: AbortSignal): Promise<string> {
  const socket = connect({ ...tlsEndpoint(address), rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
  try {
    await once(socket, 'secureConnect', { signal })
    for (const cert of chainOf(socket)) if (fingerprint(cert) === ticket.ca_sha256) return cert
  } finally {
    socket.destroy()
  }
  throw new ProblemError('bad_credentials', `${address} is not an agent of the cluster the token is for`, {
    hint: 'Nothing secret was sent. Check the address; if the cluster was made anew, make a new token.',
  })
}

function chainOf(socket: TLSSocket): string[] {
  const chain: string[] = []
  const seen = new Set<string>()
  let cert: X509Certificate | undefined = socket.getPeerX509Certificate()
  while (cert && !seen.has(cert.fingerprint256)) {
    seen.add(cert.fingerprint256)
    chain.push(cert.toString())
    cert = cert.issuerCertificate
  }
  return chain
}

async function post(
  address: string,
  ca: string,
  body: string,
  signal: AbortSignal,
): Promise<[status: number, answer: unknown]> {
  const socket = connect({
    ...tlsEndpoint(address),
    ca,
    ALPNProtocols: ['http/1.1'],
    // Agents are known by what their certificate says of the cluster, whatever address they have today.
    checkServerIdentity: (_, { raw }) =>
      memberOf(new X509Certificate(raw)) ? undefined : new Error('not an agent of the cluster'),
  })
  try {
    // Nothing is written before the other side is verified.
    await once(socket, 'secureConnect', { signal })
    return await postOn(socket, address, body, signal)
  } finally {
    socket.destroy()
  }
}

async function postOn(
  socket: TLSSocket,
  address: string,
  body: string,
  signal: AbortSignal,
): Promise<[status: number, answer: unknown]> {
  const sent = request({
    createConnection: () => socket,
    method: 'POST',
    path: '/api/v2/cluster/join',
    headers: {
      host: address,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    },
    signal,
  })
  sent.end(body)
  const [response] = (await once(sent, 'response', { signal })) as [IncomingMessage]
  const answer = await text(response)
  try {
    return [response.statusCode ?? 0, JSON.parse(answer) as unknown]
  } catch {
    return [response.statusCode ?? 0, undefined]
  }
}

/** What came must be what was asked for: this cluster's CA, and a certificate by it for the member it names. */
function checkReply(reply: JoinReply, ca: string): void {
  const issuer = new X509Certificate(ca)
  const cert = new X509Certificate(reply.certificate)
  const named = memberOf(cert)
  const right =
    fingerprint(reply.ca) === fingerprint(ca) &&
    cert.verify(issuer.publicKey) &&
    named?.cluster === reply.cluster.id &&
    named.member === reply.member
  if (!right) throw new ProblemError('internal', 'the certificate in the join reply is not what it should be')
}

function asProblem(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error
  const reason = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const hint =
    code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED'
      ? 'Set the clock of this host: it disagrees with the cluster about today.'
      : undefined
  return new ProblemError('node_unreachable', reason, { ...(hint ? { hint } : {}), cause: error })
}
