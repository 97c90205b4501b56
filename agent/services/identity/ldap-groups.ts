import type { Entry } from 'ldapts'
import { type LdapSettings, ProblemError } from '../../../contract/index.ts'
import type { Directory } from './ldap-connection.ts'
import { fillFilter, leadingValue } from './ldap-filter.ts'

/** A directory that is wrong must not have us walk through it for ever. */
const mostGroups = 2000
const deepest = 16

/** All values of an attribute: one alone comes as a text, several as a list, and names differ in their capitals. */
export function valuesOf(entry: Entry, attribute: string): string[] {
  const key = Object.keys(entry).find((name) => name.toLowerCase() === attribute.toLowerCase())
  const value = key === undefined ? undefined : entry[key]
  const all = value === undefined ? [] : Array.isArray(value) ? value : [value]
  return all.map((one) => (typeof one === 'string' ? one : one.toString('hex'))).filter((text) => text !== '')
}

/** Groups by their distinguished name and by the first part of it: `cn=ml,ou=groups,dc=lab` and `ml`. */
export async function groupsOf(
  directory: Directory,
  settings: LdapSettings,
  person: Entry,
  user: string,
): Promise<string[]> {
  const found = new Map<string, string>()
  const add = (dns: readonly string[]): string[] => {
    const fresh = dns.filter((dn) => !found.has(dn.toLowerCase()))
    for (const dn of fresh) found.set(dn.toLowerCase(), dn)
    if (found.size > mostGroups)
      throw new ProblemError('provider_failed', `the directory names more than ${mostGroups} groups`, {
        hint: 'An admin of the cluster can make group_base of the identity provider narrower.',
      })
    return fresh
  }
  add(valuesOf(person, 'memberOf'))
  if (settings.group_base !== undefined) {
    const direct = await directory.search(settings.group_base, directFilter(settings, person.dn, user), ['1.1']) // prettier-ignore
    add(direct.map(({ dn }) => dn))
    if (settings.nested && settings.schema === 'posix')
      await climb(directory, settings.group_base, [...found.values()], add)
  }
  return [...found.values()].flatMap((dn) => {
    const short = leadingValue(dn)
    return short === undefined ? [dn] : [dn, short]
  })
}

function directFilter({ schema, nested }: LdapSettings, dn: string, user: string): string {
  // Active Directory follows nested groups itself (LDAP_MATCHING_RULE_IN_CHAIN).
  if (schema === 'active-directory')
    return fillFilter(nested ? '(member:1.2.840.113556.1.4.1941:={dn})' : '(member={dn})', { dn })
  return fillFilter('(|(member={dn})(uniqueMember={dn})(memberUid={user}))', { dn, user })
}

/** The groups of these groups, and theirs; groups may be members of each other in a circle. */
async function climb(
  directory: Directory,
  base: string,
  from: readonly string[],
  add: (dns: readonly string[]) => string[],
): Promise<void> {
  let level = from
  for (let depth = 0; level.length > 0 && depth < deepest; depth++) {
    const above: string[] = []
    // Many in one question: each is a round trip to the directory.
    for (let at = 0; at < level.length; at += 50) {
      const any = level
        .slice(at, at + 50)
        .map((dn) => fillFilter('(member={dn})(uniqueMember={dn})', { dn }))
        .join('')
      above.push(...(await directory.search(base, `(|${any})`, ['1.1'])).map(({ dn }) => dn))
    }
    level = add(above)
  }
}
