import { z } from 'zod'
import type { ChannelName } from './names.ts'

interface Channel {
  readonly in: z.ZodType
  readonly out: z.ZodType
}

const address = z.string().min(1).max(300)
const fingerprint = z.string().regex(/^[0-9a-f]{64}$/)
const id = z.string().min(1).max(100)
const nothing = z.strictObject({})

/** A cluster this desktop knows, as the page may see it: no token, no certificate. */
export const Connection = z.strictObject({
  id,
  name: z.string(),
  addresses: z.array(z.string()),
  fingerprint: fingerprint.optional(),
  current: z.boolean(),
})
export type Connection = z.infer<typeof Connection>

const connections = z.strictObject({ connections: z.array(Connection) })

/** What goes over each channel; arguments are checked at run time, unknown keys are refused. */
export const channels = {
  'connections.list': { in: nothing, out: connections },
  'connections.inspect': {
    in: z.strictObject({ address }),
    out: z.strictObject({ address, cluster: z.string(), version: z.string(), fingerprint }),
  },
  'connections.add': { in: z.strictObject({ address, fingerprint }), out: connections },
  'connections.use': { in: z.strictObject({ id }), out: connections },
  'connections.remove': { in: z.strictObject({ id }), out: connections },
  'links.open': {
    in: z.strictObject({ url: z.string().max(2000) }),
    out: z.strictObject({ opened: z.boolean() }),
  },
} as const satisfies Record<ChannelName, Channel>

export type In<K extends ChannelName> = z.output<(typeof channels)[K]['in']>
export type Out<K extends ChannelName> = z.input<(typeof channels)[K]['out']>

export interface BridgeError {
  readonly code: string
  readonly message: string
  readonly hint: string
}
/** Errors travel as values: what is thrown across the bridge arrives as a message alone. */
export type Answer<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: BridgeError }

/** `window.desktop` in the page. */
export type DesktopApi = { readonly [K in ChannelName]: (argument: In<K>) => Promise<Answer<Out<K>>> }
