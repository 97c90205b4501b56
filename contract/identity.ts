import { z } from 'zod'
import { isOfHost } from './hosts.ts'
import { line, Name, text, Time } from './text.ts'

/** Names that mean something else where a provider could be named. */
const reserved = new Set(['local', 'public'])

export const ProviderName = Name.refine(
  (name) => !reserved.has(name),
  'expected another name: local and public mean something else',
)

const isLoopback = (host: string) => host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host)

function isDirectoryUrl(value: string): boolean {
  const url = URL.parse(value)
  return (
    url !== null &&
    /^ldaps?:$/.test(url.protocol) &&
    url.hostname !== '' &&
    !isOfHost(url.hostname) &&
    /^\/?$/.test(url.pathname) &&
    url.username + url.password + url.search + url.hash === ''
  )
}

function isIssuer(value: string): boolean {
  const url = URL.parse(value)
  if (!url || isOfHost(url.hostname) || url.search || url.hash || url.username || url.password) return false
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}

const Groups = z.array(line(500).min(1)).max(100)
const Certificates = text(200_000).describe('Certificate authorities, PEM. With them, no others are trusted.')

/** What is told of any provider. */
const common = {
  title: line(60).optional().describe('What people call it; default: its name.'),
  enabled: z.boolean().default(true),
  rank: z.enum(['member', 'viewer']).default('member').describe('Of people who come for the first time.'),
  admin_groups: Groups.default([]).describe(
    'Their people are admins, and only they, of those who come this way. Empty: ranks are given here.',
  ),
  allowed_groups: Groups.default([]).describe('Only their people may sign in. Empty: everybody.'),
  domains: z
    .array(line(253).min(1))
    .max(20)
    .default([])
    .describe('Of names such as ana@lab.example, which become ana. Names of other domains are refused.'),
  ca: Certificates.optional(),
  session_hours: z.int().min(1).max(720).default(168).describe('After so long people sign in anew.'),
}

const Filter = line(1000).regex(/^\(.*\)$/, 'expected an LDAP filter in parentheses, such as (uid={user})')

export const LdapSettings = z
  .strictObject({
    kind: z.literal('ldap'),
    urls: z
      .array(line(300).refine(isDirectoryUrl, 'expected ldap://HOST or ldaps://HOST, with a port if need be'))
      .min(1)
      .max(8)
      .describe('Tried in this order.'),
    encryption: z
      .enum(['required', 'none'])
      .default('required')
      .describe('required: StartTLS with ldap://. none: passwords cross the network for everybody to read.'),
    schema: z.enum(['posix', 'active-directory']).default('posix').describe('What the defaults are for.'),
    bind_dn: line(500).min(1).optional().describe('Account that searches; default: nobody.'),
    user_base: line(500).min(1).describe('People are below it.'),
    user_filter: Filter.refine((filter) => filter.includes('{user}'), 'expected {user} in the filter').optional(), // prettier-ignore
    group_base: line(500)
      .min(1)
      .optional()
      .describe('Groups are below it. Without it, only the memberOf of the person counts.'),
    nested: z.boolean().default(false).describe('Members of a group’s groups count, too.'),
    name_attribute: line(100).min(1).optional(),
    ...common,
  })
  .meta({ id: 'LdapSettings' })
export type LdapSettings = z.infer<typeof LdapSettings>

export const OidcSettings = z
  .strictObject({
    kind: z.literal('oidc'),
    issuer: line(500).refine(isIssuer, 'expected an https address, as the provider names itself'),
    client_id: line(300).min(1),
    scopes: z
      .array(line(100).regex(/^\S+$/, 'expected no spaces'))
      .min(1)
      .max(20)
      .default(['openid', 'profile', 'email']),
    name_claim: line(100).min(1).default('preferred_username'),
    groups_claim: line(100)
      .min(1)
      .default('groups')
      .describe('A list of texts; a.b is b in a, if there is no claim of that very name.'),
    end_session: z.boolean().default(true).describe('Signing out of the console signs out of the provider.'),
    ...common,
  })
  .refine(({ scopes }) => scopes.includes('openid'), {
    path: ['scopes'],
    error: 'expected openid among them',
  }) // prettier-ignore
  .meta({ id: 'OidcSettings' })
export type OidcSettings = z.infer<typeof OidcSettings>

export const ProviderSettings = z.discriminatedUnion('kind', [LdapSettings, OidcSettings])
export type ProviderSettings = z.infer<typeof ProviderSettings>

export const ProviderInput = z
  .strictObject({
    settings: ProviderSettings,
    secret: z
      .string()
      .min(1)
      .max(1024)
      .nullable()
      .optional()
      .describe(
        'Password of bind_dn, or the client’s secret. Left out: the one that is kept stays. null: none.',
      ),
  })
  .meta({ id: 'IdentityProviderInput' })
export type ProviderInput = z.infer<typeof ProviderInput>

export const IdentityProvider = z
  .object({
    name: Name,
    settings: ProviderSettings,
    secret: z.boolean().describe('One is kept; it is never answered.'),
    added_at: Time,
    added_by: z.string(),
    resource_version: z.int().min(0),
  })
  .meta({ id: 'IdentityProvider' })
export type IdentityProvider = z.infer<typeof IdentityProvider>

/** What the sign-in page shows to everybody. */
export const SignInWay = z
  .object({
    name: Name,
    kind: z.enum(['ldap', 'oidc']).describe('ldap: by password, here. oidc: on the provider’s own pages.'),
    title: z.string(),
  })
  .meta({ id: 'SignInWay' })
export type SignInWay = z.infer<typeof SignInWay>

export const ProviderCheckInput = z
  .strictObject({
    user: line(200).min(1).optional().describe('LDAP: look this person up.'),
    password: z.string().min(1).max(1024).optional().describe('And try to sign in with it.'),
  })
  .meta({ id: 'IdentityProviderCheckInput' })
export type ProviderCheckInput = z.infer<typeof ProviderCheckInput>

export const ProviderCheck = z
  .object({
    ok: z.boolean(),
    steps: z.array(z.object({ what: z.string(), ok: z.boolean(), message: z.string() })),
    person: z
      .object({ name: z.string(), groups: z.array(z.string()), teams: z.array(z.string()), rank: z.string() })
      .nullable()
      .describe('Whom they would be signed in as.'),
    redirect_uris: z
      .array(z.string())
      .describe('OpenID Connect: to be registered at the provider, as far as consoles are opened there.'),
  })
  .meta({ id: 'IdentityProviderCheck' })
export type ProviderCheck = z.infer<typeof ProviderCheck>

/** A sign-in that is confirmed in a browser, on whatever machine. */
export const DeviceSignIn = z
  .object({
    verification_uri: z.string(),
    verification_uri_complete: z.string().nullable(),
    user_code: z.string().describe('To be typed there.'),
    interval: z.int().describe('Ask so seldom, in seconds.'),
    expires_at: Time,
    handle: z.string().describe('To ask with.'),
  })
  .meta({ id: 'DeviceSignIn' })
export type DeviceSignIn = z.infer<typeof DeviceSignIn>
