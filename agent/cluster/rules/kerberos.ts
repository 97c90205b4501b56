import type { KerberosSettings } from '../../../contract/index.ts'
import type { KerberosCommand } from '../commands/kerberos.ts'
import type { State } from '../state.ts'
import type { Transaction } from '../transaction.ts'

const key = 'self'

/** None, unless an admin named some. */
export const kerberosOf = (state: Pick<State, 'kerberos'>): KerberosSettings => ({
  realms: state.kerberos.get(key)?.realms ?? [],
})

export function set(tx: Transaction, { settings }: KerberosCommand): void {
  tx.put('kerberos', key, settings)
  const named = settings.realms.map(({ realm, kdcs }) => `${realm} (${kdcs.join(', ')})`)
  tx.event(
    'kerberos.changed',
    { kind: 'cluster', id: key },
    `${tx.who} lets tasks have Kerberos tickets of ${named.slice(0, 20).join(', ') || 'no realm'}`,
  )
}
