import {
  argon2,
  type Argon2Parameters,
  createCipheriv,
  createDecipheriv,
  hash,
  randomBytes,
  randomInt,
  timingSafeEqual,
} from 'node:crypto'
import { promisify } from 'node:util'

/** The key that seals the cluster's secrets; it stands in a 0600 file on voters and nowhere else. */
export const newClusterKey = (): Buffer => randomBytes(32)

/**
 * AES-256-GCM. `context` says what the text is ("ca-key:<cluster>"), and is bound to it: a sealed text put in
 * another's place does not open.
 */
export function seal(key: Uint8Array, text: string, context: string): string {
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(context))
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return `s1.${iv.toString('base64url')}.${sealed.toString('base64url')}`
}

/** Throws when the key, the context or a single bit is another. */
export function open(key: Uint8Array, sealed: string, context: string): string {
  const [version, iv, body, ...rest] = sealed.split('.')
  if (version !== 's1' || !iv || !body || rest.length > 0) throw new Error('not a sealed text')
  const bytes = Buffer.from(body, 'base64url')
  if (bytes.length < 16) throw new Error('not a sealed text')
  const cipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64url'), { authTagLength: 16 })
  cipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-16))
  try {
    return Buffer.concat([cipher.update(bytes.subarray(0, -16)), cipher.final()]).toString('utf8')
  } catch (cause) {
    throw new Error(`cannot open ${context}: another cluster key, or damaged`, { cause })
  }
}

const derive = promisify<'argon2id', Argon2Parameters, Buffer>(argon2)

/** 19 MiB, 2 passes: OWASP's first choice; a sign-in costs tens of milliseconds and cannot exhaust an agent. */
const cost = { memory: 19_456, passes: 2, parallelism: 1 }
const unpadded = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')

/** A PHC string: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. */
export async function hashPassword(password: string): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await derive('argon2id', { ...cost, message: messageOf(password), nonce, tagLength: 32 })
  const { memory, passes, parallelism } = cost
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(nonce)}$${unpadded(tag)}`
}

const phc =
  /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/

/** Without a hash (no such user) it does the same work and answers no, so that timing tells nobody which users exist. */
export async function verifyPassword(password: string, hashed: string | undefined): Promise<boolean> {
  const match = phc.exec(hashed ?? nobody)
  if (!match) throw new Error('not an argon2id password hash')
  const [, memory, passes, parallelism, salt = '', tag = ''] = match
  const expected = Buffer.from(tag, 'base64')
  const actual = await derive('argon2id', {
    message: messageOf(password),
    nonce: Buffer.from(salt, 'base64'),
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    tagLength: expected.length,
  })
  return timingSafeEqual(actual, expected) && hashed !== undefined
}
const nobody = `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}$${'A'.repeat(22)}$${'A'.repeat(43)}`

/** Keyboards and systems write one letter in several ways: `ö` must be `ö`. */
const messageOf = (password: string) => Buffer.from(password.normalize('NFC'))

/** A secret for a sign-in, an API client or a task; the cluster keeps its digest only. */
export function newToken(): { token: string; sha256: string } {
  const token = `sdc_${randomBytes(32).toString('base64url')}`
  return { token, sha256: sha256Of(token) }
}

export const sha256Of = (token: string): string => hash('sha256', token, 'hex')

/** Letters and digits that nobody mistakes for another when reading them from a screen. */
const readable = 'abcdefghjkmnpqrstuvwxyz23456789'

/** A first password for a person to type once: 4 groups of 4, 79 bits. */
export function newPassword(): string {
  const group = () => Array.from({ length: 4 }, () => readable[randomInt(readable.length)]).join('')
  return Array.from({ length: 4 }, group).join('-')
}
