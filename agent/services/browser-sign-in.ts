import { type DeviceSignIn, type OidcSettings, ProblemError, type SignedIn } from '../../contract/index.ts'
import { z } from 'zod'
import { signInContext } from '../cluster/sealer.ts'
import type { IdentityProviderRow } from '../cluster/state.ts'
import { Rate } from './back-off.ts'
import type { ServiceDeps } from './context.ts'
import type { OidcAccess, OidcClients } from './identity/oidc.ts'
import { KeyUnknown } from './identity/oidc-errors.ts'
import type { ProviderSecrets } from './identity/secrets.ts'
import { admit, type Origin } from './sign-in.ts'

/** Where somebody goes, and what their browser has to bring back. */
export interface Begun {
  readonly location: string
  readonly kept: string
}

/** Sign-in on the pages of an OpenID Connect provider: in this browser, or in another one for a program. */
export interface BrowserSignInService {
  /** `at`: the console's own origin, as the request named it. */
  begin(provider: string, at: string, origin: Origin): Promise<Begun>
  /** `kept` is what `begin` gave; `returned` the query that the provider sent the browser back with. */
  finish(provider: string, back: { kept: string; returned: string }, origin: Origin): Promise<SignedIn | Begun>
  /** Where the provider ends its own sign-in; null: nowhere. */
  end(provider: string, at: string, origin: Origin): Promise<string | null>
  beginDevice(provider: string, origin: Origin): Promise<DeviceSignIn>
  poll(provider: string, handle: string, origin: Origin): Promise<{ signed_in: SignedIn | null; interval: number }>
} // prettier-ignore

/** So long somebody may take on the provider's pages. */
const minutes = 10
/** Of one address in a minute. An office has one, too: hundreds may come at nine, and each program asks twelve times. */
const mostPerMinute = 1200

const Kept = z.object({
  state: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  redirect: z.string(),
  until: z.number(),
  /** It was begun anew after the provider changed its keys. */
  again: z.boolean(),
})
const Handle = z.object({ code: z.string(), interval: z.number(), until: z.number() })

interface Known {
  readonly row: IdentityProviderRow
  readonly settings: OidcSettings
  readonly access: OidcAccess
}

export function createBrowserSignIn(
  { cluster, seal, open, now = Date.now }: ServiceDeps,
  secrets: ProviderSecrets,
  clients: OidcClients,
): BrowserSignInService {
  const rate = new Rate(now, mostPerMinute)

  async function known(name: string, { address }: Origin): Promise<Known> {
    rate.count(address)
    const row = cluster.state().identityProviders.get(name) ?? (await later(name))
    if (!row || row.settings.kind !== 'oidc' || !row.settings.enabled) throw noneSuch
    const { settings } = row
    const access = { name, version: row.resource_version, settings, secret: await secrets.of(row) }
    return { row, settings, access }
  }
  /** It may have been added by another agent just now. */
  async function later(name: string): Promise<IdentityProviderRow | undefined> {
    await cluster.barrier()
    return cluster.state().identityProviders.get(name)
  }
  async function send({ access }: Known, redirect: string, again: boolean): Promise<Begun> {
    const { url, checks } = await clients.begin(access, redirect)
    const kept: z.infer<typeof Kept> = { ...checks, redirect, until: now() + minutes * 60_000, again }
    return { location: url.href, kept: await seal(JSON.stringify(kept), signInContext(access.name, 'browser')) }
  } // prettier-ignore

  return {
    async begin(provider, at, origin) {
      return send(await known(provider, origin), `${at}/api/v2/sign-in/${provider}/callback`, false)
    },
    async finish(provider, { kept, returned }, origin) {
      const found = await known(provider, origin)
      const checks = await opened(open(kept, signInContext(provider, 'browser')), Kept)
      if (!checks || checks.until < now()) throw tooLate
      try {
        const person = await clients.finish(found.access, new URL(returned, checks.redirect), checks)
        return await admit(cluster, found.row, person, { origin, now: now() })
      } catch (error) {
        if (!(error instanceof KeyUnknown) || checks.again) throw error
        return send(found, checks.redirect, true)
      }
    },
    async end(provider, at, origin) {
      const { settings, access } = await known(provider, origin)
      if (!settings.end_session) return null
      return (await clients.end(access, `${at}/`))?.href ?? null
    },
    async beginDevice(provider, origin) {
      const { access } = await known(provider, origin)
      const begun = await clients.beginDevice(access)
      const until = now() + begun.expires_in * 1000
      const interval = Math.min(Math.max(begun.interval ?? 5, 1), 60)
      const handle = { code: begun.device_code, interval, until }
      return {
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete ?? null,
        user_code: begun.user_code,
        interval,
        expires_at: new Date(until).toISOString(),
        handle: await seal(JSON.stringify(handle), signInContext(provider, 'device')),
      }
    },
    async poll(provider, handle, origin) {
      const { access, row } = await known(provider, origin)
      const asked = await opened(open(handle, signInContext(provider, 'device')), Handle)
      if (!asked || asked.until < now()) throw tooLate
      const found = await clients.pollDevice(access, asked.code)
      if (found === 'pending') return { signed_in: null, interval: asked.interval }
      if (found === 'slower') return { signed_in: null, interval: asked.interval + 5 }
      return { signed_in: await admit(cluster, row, found, { origin, now: now() }), interval: asked.interval }
    },
  }
}

/** Undefined: it is not what was sealed for this. */
async function opened<T extends z.ZodType>(work: Promise<string>, schema: T): Promise<z.output<T> | undefined> {
  const text = await work.catch((error: unknown) => {
    if (error instanceof ProblemError) throw error
  })
  return text === undefined ? undefined : schema.parse(JSON.parse(text))
} // prettier-ignore

const noneSuch = new ProblemError('not_found', 'there is no such identity provider to sign in by', {
  hint: 'The sign-in page shows which there are.',
})
const tooLate = new ProblemError('bad_credentials', 'this sign-in was not begun here, or it took too long', {
  hint: 'Sign in again.',
})
