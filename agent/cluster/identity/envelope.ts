import { hash, randomBytes } from 'node:crypto'
import { open, seal } from './seal.ts'

/** What a cluster key is called by; it tells nothing of 256 random bits. */
export const keyId = (clusterKey: Uint8Array): string => hash('sha256', clusterKey, 'hex').slice(0, 16)

/** The parts of an envelope: which cluster key opens it, the data key wrapped by that, and what the data key seals. */
interface Envelope {
  readonly key: string
  readonly wrapped: string
  readonly body: string
}

const mark = 'e1'
const write = ({ key, wrapped, body }: Envelope): string => [mark, key, wrapped, body].join('~')

function read(text: string): Envelope | undefined {
  const [version, key, wrapped, body, ...rest] = text.split('~')
  if (version !== mark || !key || !wrapped || !body || rest.length > 0) return undefined
  return { key, wrapped, body }
}

const wrapContext = (context: string) => `data-key:${context}`

/**
 * Seals a text by a key of its own, which the cluster key wraps: with another cluster key the wrapping alone is made anew,
 * whatever its size. `context` is bound to both.
 */
export function sealEnvelope(clusterKey: Uint8Array, text: string, context: string): string {
  const dataKey = randomBytes(32)
  const wrapped = seal(clusterKey, dataKey.toString('base64url'), wrapContext(context))
  return write({ key: keyId(clusterKey), wrapped, body: seal(dataKey, text, context) })
}

/** Opens an envelope, or a text that was sealed by the cluster key itself, as those of before were. */
export function openEnvelope(clusterKey: Uint8Array, sealed: string, context: string): string {
  const envelope = read(sealed)
  if (!envelope) return open(clusterKey, sealed, context)
  return open(dataKeyOf(clusterKey, envelope, context), envelope.body, context)
}

const dataKeyOf = (clusterKey: Uint8Array, { wrapped }: Envelope, context: string): Buffer =>
  Buffer.from(open(clusterKey, wrapped, wrapContext(context)), 'base64url')

/** The id of the cluster key that opens it; undefined for a text that is no envelope. */
export const envelopeKey = (sealed: string): string | undefined => read(sealed)?.key

/** What is made anew for another cluster key: the wrapping, or all of a text that is no envelope. */
export type Rewrap = { readonly wrapped: string } | { readonly sealed: string }

/** Made by whoever has both cluster keys; throws where `from` does not open it. */
export function rewrap(from: Uint8Array, to: Uint8Array, sealed: string, context: string): Rewrap {
  const envelope = read(sealed)
  if (!envelope) return { sealed: sealEnvelope(to, open(from, sealed, context), context) }
  const dataKey = dataKeyOf(from, envelope, context)
  return { wrapped: seal(to, dataKey.toString('base64url'), wrapContext(context)) }
}

/** The text with its new wrapping; the data key, and what it seals, are the same. */
export function rewrapped(sealed: string, key: string, made: Rewrap): string {
  if ('sealed' in made) return made.sealed
  const envelope = read(sealed)
  return envelope ? write({ ...envelope, key, wrapped: made.wrapped }) : sealed
}
