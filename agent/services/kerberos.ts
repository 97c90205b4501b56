import type { Actor, KerberosSettings } from '../../contract/index.ts'
import { kerberosOf } from '../cluster/rules/kerberos.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'

export interface KerberosService {
  get(actor: Actor, query: { consistency: Consistency }): Promise<KerberosSettings>
  /** Realms that are left out give no tickets any more. */
  set(actor: Actor, settings: KerberosSettings): Promise<KerberosSettings>
}

export function createKerberos({ cluster }: ServiceDeps): KerberosService {
  return {
    async get(actor, { consistency }) {
      demand(actor, 'kerberos:read')
      await settled(cluster, consistency)
      return kerberosOf(cluster.state())
    },
    async set(actor, settings) {
      demand(actor, 'kerberos:admin')
      await cluster.propose({ type: 'kerberos.set', settings }, actor)
      return settings
    },
  }
}
