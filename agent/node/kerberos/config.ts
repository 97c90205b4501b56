import type { KerberosSettings } from '../../../contract/index.ts'

/**
 * What libraries are told of the realms: by us alone, as the words of a krb5.conf of somebody else may load code. Only
 * the servers named are asked, and a clock that is wrong is an error rather than guessed at.
 */
export function kerberosConfig({ realms }: KerberosSettings, realm: string): string {
  const sections = realms.map(
    ({ realm: name, kdcs }) => `  ${name} = {\n${kdcs.map((kdc) => `    kdc = ${kdc}\n`).join('')}  }\n`,
  )
  const domains = realms.flatMap((one) => one.domains.map((domain) => `  ${domain} = ${one.realm}\n`))
  return `[libdefaults]
  default_realm = ${realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  rdns = false
  kdc_timesync = 0
  udp_preference_limit = 1
[realms]
${sections.join('')}[domain_realm]
${domains.join('')}`
}
