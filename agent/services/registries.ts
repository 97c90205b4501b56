import { X509Certificate } from 'node:crypto'
import { type Actor, ProblemError, type Registry, RegistryInput } from '../../contract/index.ts'
import { credentialsContext } from '../cluster/sealer.ts'
import type { RegistryRow } from '../cluster/state.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'

export interface RegistryService {
  list(actor: Actor, query: PageQuery & { consistency: Consistency }): Promise<Page<Registry>>
  /** Adds it, or replaces all that is known of it. */
  add(actor: Actor, input: RegistryInput): Promise<Registry>
  remove(actor: Actor, host: string): Promise<void>
}

export function createRegistries({ cluster, seal }: ServiceDeps): RegistryService {
  return {
    async list(actor, query) {
      demand(actor, 'image:read')
      await settled(cluster, query.consistency)
      const rows = [...cluster.state().registries.values()].toSorted((a, b) => (a.host < b.host ? -1 : 1))
      return pageOf(rows, query, 'ascending', ({ host }) => host, registryView, cluster.status().applied)
    },
    async add(actor, input) {
      demand(actor, 'cluster:admin')
      const { host, user, password, ca, insecure } = RegistryInput.parse(input)
      if (ca) checkCertificates(ca)
      await cluster.barrier()
      const sealed =
        user === undefined ? null : await seal(JSON.stringify({ user, password }), credentialsContext(host))
      const given = { host, user: user ?? null, sealed, ca: ca ?? null, insecure }
      await cluster.propose({ type: 'registry.put', ...given }, actor)
      const row = cluster.state().registries.get(host)
      if (!row) throw new ProblemError('conflict', `the registry ${host} was removed meanwhile`)
      return registryView(row)
    },
    async remove(actor, host) {
      demand(actor, 'cluster:admin')
      await cluster.propose({ type: 'registry.remove', host }, actor)
    },
  }
}

/** What is sealed stays here. */
const registryView = ({ sealed: _, ca, ...row }: RegistryRow): Registry => ({ ...row, ca: ca !== null })

function checkCertificates(pem: string): void {
  try {
    new X509Certificate(pem)
  } catch (cause) {
    throw new ProblemError('invalid_request', 'the certificate authority cannot be read', {
      errors: [{ pointer: '/ca', message: 'expected certificates as PEM' }],
      cause,
    })
  }
}
