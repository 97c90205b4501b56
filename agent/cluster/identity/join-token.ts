import { z } from 'zod'
import { ProblemError, Sha256 } from '../../../contract/index.ts'
import { parseAddress } from './address.ts'

/** What one host needs to join: where the cluster is, how to know it is the right one, and the one-use secret. */
export interface JoinTicket {
  /** HOST:PORT of agents, tried in order. */
  readonly addresses: readonly string[]
  /** SHA-256 of the cluster's CA certificate (DER), hex: the joiner sends the secret to nobody else. */
  readonly ca_sha256: string
  readonly secret: string
}

const Address = z.string().refine((address) => parseAddress(address) !== undefined, 'expected HOST:PORT')
const Ticket = z.object({
  addresses: z.array(Address).min(1).max(64),
  ca_sha256: Sha256,
  secret: z.string().min(16).max(256),
})
const prefix = 'sdcj1.'
const hint = 'Copy the whole token as `submarine cluster token` printed it, or make a new one.'

export function encodeJoinToken(ticket: JoinTicket): string {
  const { addresses, ca_sha256, secret } = Ticket.parse(ticket)
  return prefix + Buffer.from(JSON.stringify({ addresses, ca_sha256, secret })).toString('base64url')
}

/** Throws ProblemError `invalid_request` that says what is wrong; the message never holds the token. */
export function parseJoinToken(token: string): JoinTicket {
  const text = token.trim()
  const wrong = (why: string) => new ProblemError('invalid_request', `the join token ${why}`, { hint })
  if (!text.startsWith(prefix)) {
    if (/^sdcj\d+\./.test(text)) throw wrong('is of a newer version than this agent knows')
    throw wrong(`does not begin with "${prefix}"`)
  }
  const body = text.slice(prefix.length)
  if (body.length > 16_384 || !/^[A-Za-z0-9_-]+$/.test(body)) throw wrong('holds characters no token has')
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(body, 'base64url').toString('utf8'))
  } catch {
    throw wrong('is cut off or damaged')
  }
  const parsed = Ticket.safeParse(value)
  if (parsed.success) return parsed.data
  const fields = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw wrong(`is damaged (${fields.join('; ')})`)
}
