import { X509Certificate } from 'node:crypto'
import { type Actor, type IdentityProvider, ProblemError, type ProviderCheck, type ProviderCheckInput, type ProviderInput, ProviderName, type ProviderSettings, type SignInWay } from '../../contract/index.ts' // prettier-ignore
import { providerContext } from '../cluster/sealer.ts'
import type { IdentityProviderRow } from '../cluster/state.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { checkProvider } from './identity/check.ts'
import type { OidcClients } from './identity/oidc.ts'
import type { ProviderSecrets } from './identity/secrets.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'

type Reading = { consistency: Consistency }

export interface IdentityProviderService {
  /** What the sign-in page offers to everybody. */
  ways(): { items: SignInWay[] }
  list(actor: Actor, query: PageQuery & Reading): Promise<Page<IdentityProvider>>
  get(actor: Actor, name: string, query: Reading): Promise<IdentityProvider>
  put(actor: Actor, name: string, input: ProviderInput, ifVersion?: number): Promise<IdentityProvider>
  delete(actor: Actor, name: string): Promise<void>
  /** `origins`: under which consoles are opened. */
  check(actor: Actor, name: string, input: ProviderCheckInput, origins: readonly string[]): Promise<ProviderCheck>
} // prettier-ignore

export function createIdentityProviders(
  { cluster, seal }: ServiceDeps,
  secrets: ProviderSecrets,
  clients: OidcClients,
): IdentityProviderService {
  const sorted = () =>
    [...cluster.state().identityProviders.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const need = (name: string): IdentityProviderRow => {
    const row = cluster.state().identityProviders.get(name)
    if (row) return row
    throw new ProblemError('not_found', `there is no identity provider ${name}`, {
      hint: 'See `submarine identity-provider list`.',
    })
  }
  return {
    ways: () => ({
      items: sorted()
        .filter(({ settings }) => settings.enabled)
        .map(({ name, settings: { kind, title } }) => ({ name, kind, title: title ?? name })),
    }),
    async list(actor, query) {
      demand(actor, 'cluster:admin')
      await settled(cluster, query.consistency)
      return pageOf(sorted(), query, 'ascending', ({ name }) => name, view, cluster.status().applied)
    },
    async get(actor, name, { consistency }) {
      demand(actor, 'cluster:admin')
      await settled(cluster, consistency)
      return view(need(name))
    },
    async put(actor, name, { settings, secret }, ifVersion) {
      demand(actor, 'cluster:admin')
      checkInput(name, settings)
      await cluster.barrier()
      const sealed = typeof secret === 'string' ? await seal(secret, providerContext(name)) : secret
      const kept = sealed === undefined ? {} : { sealed }
      const if_version = ifVersion === undefined ? {} : { if_version: ifVersion }
      await cluster.propose({ type: 'identityProvider.put', name, settings, ...kept, ...if_version }, actor)
      return view(need(name))
    },
    async delete(actor, name) {
      demand(actor, 'cluster:admin')
      await cluster.propose({ type: 'identityProvider.delete', name }, actor)
    },
    async check(actor, name, input, origins) {
      demand(actor, 'cluster:admin')
      await cluster.barrier()
      const row = need(name)
      const found = { row, secret: await secrets.of(row), state: cluster.state(), clients }
      const redirect_uris =
        row.settings.kind === 'oidc'
          ? [...new Set(origins)].map((origin) => `${origin}/api/v2/sign-in/${name}/callback`)
          : []
      return { ...(await checkProvider(found, input)), redirect_uris }
    },
  }
}

/** What is sealed stays here. */
const view = ({ sealed, ...row }: IdentityProviderRow): IdentityProvider => ({
  ...row,
  secret: sealed !== null,
})

function checkInput(name: string, { ca }: ProviderSettings): void {
  const named = ProviderName.safeParse(name)
  if (!named.success)
    throw new ProblemError('invalid_request', undefined, {
      errors: [{ pointer: '/path/provider', message: named.error.issues[0]?.message ?? 'expected a name' }],
    })
  try {
    if (ca !== undefined) new X509Certificate(ca)
  } catch (cause) {
    throw new ProblemError('invalid_request', 'the certificate authority cannot be read', {
      errors: [{ pointer: '/settings/ca', message: 'expected certificates as PEM' }],
      cause,
    })
  }
}
