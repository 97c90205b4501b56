import { ProblemError } from '../../contract/index.ts'
import type { IdentityProviderRow, State } from '../cluster/state.ts'
import type { ServiceDeps } from './context.ts'
import { RateLimited } from './back-off.ts'
import { checkPassword } from './identity/ldap.ts'
import type { Person } from './identity/person.ts'
import type { ProviderSecrets } from './identity/secrets.ts'

/** A directory that is slow must not pile up sign-ins without end. */
const mostAtOnce = 64

export interface Vouched {
  readonly provider: IdentityProviderRow
  readonly person: Person
}

export interface Directories {
  /** Whom a directory knows by that name and password. Throws when none could be found by those that answered. */
  check(user: string, password: string): Promise<Vouched | undefined>
}

/** Sign-in with the name and password that somebody has in a directory. */
export function createDirectories({ cluster }: ServiceDeps, secrets: ProviderSecrets): Directories {
  let working = 0
  return {
    async check(user, password) {
      const asked = toAsk(cluster.state(), user)
      if (asked.length === 0 || password === '') return undefined
      if (working >= mostAtOnce) throw new RateLimited('too many people sign in at once', 1)
      working++
      try {
        return await firstOf(asked, secrets, { user, password })
      } finally {
        working--
      }
    },
  }
}

/** Who has a password here is nobody else's; who came by one directory is looked for there alone. */
function toAsk({ users, identityProviders }: State, user: string): IdentityProviderRow[] {
  const row = users.get(user)
  if (row && row.source === undefined) return []
  return [...identityProviders.values()]
    .filter(({ name, settings }) => settings.kind === 'ldap' && settings.enabled && (!row || row.source === name))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
} // prettier-ignore

async function firstOf(
  providers: readonly IdentityProviderRow[],
  secrets: ProviderSecrets,
  { user, password }: { user: string; password: string },
): Promise<Vouched | undefined> {
  let silent: ProblemError | undefined
  for (const provider of providers) {
    const { settings } = provider
    if (settings.kind !== 'ldap') continue
    try {
      const person = await checkPassword({ settings, secret: await secrets.of(provider) }, user, password)
      if (person) return { provider, person }
    } catch (error) {
      // Another directory may know them; whoever it is has not typed a wrong password yet.
      if (!(error instanceof ProblemError) || error.code === 'bad_credentials') throw error
      silent ??= error
    }
  }
  if (silent) throw silent
  return undefined
}
