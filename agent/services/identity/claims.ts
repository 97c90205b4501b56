import {
  type Configuration,
  fetchUserInfo,
  type TokenEndpointResponse,
  type TokenEndpointResponseHelpers,
} from 'openid-client'
import { type OidcSettings, ProblemError } from '../../../contract/index.ts'
import { nameHere, type Person, shortText } from './person.ts'

type Claims = Readonly<Record<string, unknown>>

const mostGroups = 2000

/** Of the signed token, and of the provider's answer about the person where the token does not say enough. */
export async function personFrom(
  settings: OidcSettings,
  configuration: Configuration,
  tokens: TokenEndpointResponse & TokenEndpointResponseHelpers,
): Promise<Person> {
  const signed = tokens.claims()
  if (!signed) throw new ProblemError('provider_failed', 'the identity provider sent no id_token')
  const wanted = [settings.name_claim, settings.groups_claim, 'name', 'email']
  const lacks = wanted.some((name) => claim(signed, name) === undefined)
  const more =
    lacks && configuration.serverMetadata().userinfo_endpoint
      ? await fetchUserInfo(configuration, tokens.access_token, signed.sub)
      : {}
  // What is signed comes first.
  return toPerson(settings, signed.sub, { ...more, ...signed })
}

function toPerson(settings: OidcSettings, sub: string, claims: Claims): Person {
  const given = claim(claims, settings.name_claim)
  if (typeof given !== 'string' || given === '')
    throw new ProblemError('provider_failed', `the identity provider sends no ${settings.name_claim}`, {
      hint: 'An admin of the cluster can ask for more (scopes) or name another claim (name_claim) in its settings.',
    })
  const display = shortText(claims['name'], 200)
  const email = shortText(claims['email'], 254)
  return {
    id: sub,
    name: nameHere(given, settings.domains),
    ...(display === undefined ? {} : { display_name: display }),
    ...(email === undefined ? {} : { email }),
    groups: groupsIn(claim(claims, settings.groups_claim)),
  }
}

/** `realm_access.roles`: a claim of that very name, or `roles` in `realm_access`. */
export function claim(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name]
  const [first = '', ...rest] = name.split('.')
  const inner = Object.hasOwn(claims, first) ? claims[first] : undefined
  if (rest.length === 0 || typeof inner !== 'object' || inner === null || Array.isArray(inner))
    return undefined
  return claim(inner as Claims, rest.join('.'))
}

/** A list, or a single one as a text; whatever else stands among them is no group. */
function groupsIn(value: unknown): string[] {
  const all: readonly unknown[] = Array.isArray(value) ? value : value === undefined ? [] : [value]
  const groups = [...new Set(all.filter((one): one is string => typeof one === 'string' && one !== ''))]
  if (groups.length > mostGroups)
    throw new ProblemError('provider_failed', `the identity provider names more than ${mostGroups} groups`)
  return groups
}
