import type { KerberosSettings } from '../../../contract/index.ts'

/** Kerberos realms of which tasks may have tickets. */
export type KerberosCommand = { type: 'kerberos.set'; settings: KerberosSettings }
