import { type LdapSettings, ProblemError } from '../../../contract/index.ts'
import { type Directory, type LdapAccess, onServer, withDirectory } from './ldap-connection.ts'
import { fillFilter } from './ldap-filter.ts'
import { groupsOf, valuesOf } from './ldap-groups.ts'
import { nameHere, type Person, shortText } from './person.ts'

const defaults = {
  posix: { filter: '(uid={user})', name: 'uid', id: 'entryUUID' },
  // Accounts that are switched off there are not found here.
  'active-directory': {
    filter:
      '(&(objectCategory=person)(objectClass=user)(sAMAccountName={user})(!(userAccountControl:1.2.840.113556.1.4.803:=2)))',
    name: 'sAMAccountName',
    id: 'objectGUID',
  },
}

/**
 * Whom this password belongs to; undefined for a wrong one and for somebody whom the directory does not know. Throws
 * `provider_unreachable` and `provider_failed` when that cannot be found out.
 */
export async function checkPassword(
  access: LdapAccess,
  user: string,
  password: string,
): Promise<Person | undefined> {
  // A bind without a password is an anonymous one, which succeeds whoever it names.
  if (password === '') return undefined
  return withDirectory(access, async (directory) => {
    const found = await findPerson(directory, access.settings, user)
    if (!found) return undefined
    return (await directory.isPassword(found.dn, password)) ? found.person : undefined
  })
}

/** Is this server one that answers, takes our own account and knows where people are? Throws what is wrong. */
export const tryServer = (access: LdapAccess, url: string): Promise<unknown> =>
  onServer(access, url, (directory) => findPerson(directory, access.settings, 'a-check'))

/** What the directory knows of somebody, without their password. */
export async function lookUp(access: LdapAccess, user: string): Promise<Person | undefined> {
  return withDirectory(
    access,
    async (directory) => (await findPerson(directory, access.settings, user))?.person,
  )
}

async function findPerson(
  directory: Directory,
  settings: LdapSettings,
  user: string,
): Promise<{ dn: string; person: Person } | undefined> {
  const byDefault = defaults[settings.schema]
  const nameAttribute = settings.name_attribute ?? byDefault.name
  const filter = fillFilter(settings.user_filter ?? byDefault.filter, { user })
  const attributes = [nameAttribute, byDefault.id, 'displayName', 'cn', 'mail', 'memberOf']
  const found = await directory.search(settings.user_base, filter, attributes)
  if (found.length > 1)
    throw new ProblemError('provider_failed', `the directory knows ${found.length} people by that name`, {
      hint: 'An admin of the cluster can make user_filter or user_base of the identity provider narrower.',
    })
  const [entry] = found
  if (!entry) return undefined
  const [given] = valuesOf(entry, nameAttribute)
  const [id] = valuesOf(entry, byDefault.id)
  if (given === undefined || id === undefined)
    throw new ProblemError(
      'provider_failed',
      `the directory has no ${given === undefined ? nameAttribute : byDefault.id} of ${entry.dn}`,
    )
  const display = shortText(valuesOf(entry, 'displayName')[0] ?? valuesOf(entry, 'cn')[0], 200)
  const email = shortText(valuesOf(entry, 'mail')[0], 254)
  const person: Person = {
    id,
    name: nameHere(given, settings.domains),
    ...(display === undefined ? {} : { display_name: display }),
    ...(email === undefined ? {} : { email }),
    groups: await groupsOf(directory, settings, entry, given),
  }
  return { dn: entry.dn, person }
}
