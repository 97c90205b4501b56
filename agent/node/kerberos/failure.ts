import { realmOf } from '../../../contract/index.ts'
import { StartFailure } from '../runtime.ts'

/** No ticket, and why. `passing`: the same may do later. */
export class NoTicket extends StartFailure {
  readonly passing: boolean
  constructor(code: string, message: string, passing = false) {
    super(code, message)
    this.name = 'NoTicket'
    this.passing = passing
  }
}

interface Known {
  readonly says: RegExp
  readonly code: string
  readonly means: (principal: string) => string
  readonly passing?: true
}

const anew = 'Export the keytab anew and replace it with `submarine secret set`.'

/** What MIT's kinit says in the C locale. */
const known: readonly Known[] = [
  {
    says: /Cannot (contact|find|resolve).*KDC|Cannot resolve network address/i,
    code: 'kerberos_unreachable',
    means: (principal) =>
      `No server of the realm ${realmOf(principal)} answers this node. Are they up, and named right in \`submarine kerberos get\`?`,
    passing: true,
  },
  {
    says: /Clock skew too great/i,
    code: 'kerberos_clock',
    means: (principal) =>
      `The clock of this node and that of the realm ${realmOf(principal)} differ by more than Kerberos allows (5 minutes). Set both by a time server.`,
    passing: true,
  },
  {
    says: /no suitable keys/i,
    code: 'kerberos_principal',
    means: (principal) =>
      `The keytab has no key for ${principal} that can be used. \`klist -k\` shows for whom it is: name that one with \`submarine secret set --principal\`, or give the right keytab.`,
  },
  {
    says: /Unsupported key table|Bad format in keytab|keytab file.*(end|format)/i,
    code: 'kerberos_keytab',
    means: () => `The secret is no keytab that can be read. ${anew}`,
  },
  {
    says: /Preauthentication failed|Password incorrect|Decrypt integrity check failed/i,
    code: 'kerberos_keytab',
    means: (principal) =>
      `The realm does not take the key of ${principal} in the keytab: its password or key was changed since. ${anew}`,
  },
  {
    says: /not found in Kerberos database/i,
    code: 'kerberos_principal',
    means: (principal) => `The realm ${realmOf(principal)} knows no ${principal}.`,
  },
  {
    says: /credentials have been revoked|entry in database has expired|Password has expired/i,
    code: 'kerberos_locked',
    means: (principal) =>
      `The realm gives ${principal} no ticket: the account is locked, or it or its key has expired. Who runs the realm can change that.`,
  },
]

/** Why there is no ticket, by what the program said. */
export function noTicket(said: string, principal: string): NoTicket {
  const found = known.find(({ says }) => says.test(said))
  if (found)
    return new NoTicket(
      found.code,
      `There is no Kerberos ticket for ${principal}. ${found.means(principal)}`,
      found.passing,
    )
  const last = said.trim().split('\n').at(-1)?.slice(0, 300) ?? ''
  return new NoTicket(
    'kerberos_failed',
    `There is no Kerberos ticket for ${principal}: ${last || 'kinit says nothing of why'}`,
  )
}
