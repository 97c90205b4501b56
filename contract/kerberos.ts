import { z } from 'zod'
import { isOfHost, ofHost } from './hosts.ts'

const Realm = z
  .string({ error: 'expected a realm such as LAB.EXAMPLE' })
  .regex(/^[A-Z0-9][A-Z0-9._-]{0,253}$/, 'expected a realm such as LAB.EXAMPLE, in capitals')

/** Who a keytab is for. Host and service principals have a `/`. */
export const Principal = z
  .string({ error: 'expected a principal such as ana@LAB.EXAMPLE' })
  .max(300, 'expected at most 300 characters')
  .regex(
    /^[A-Za-z0-9_][A-Za-z0-9._$-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)?@[A-Z0-9][A-Z0-9._-]*$/,
    'expected a principal such as ana@LAB.EXAMPLE, with its realm in capitals',
  )

export const realmOf = (principal: string): string => principal.slice(principal.lastIndexOf('@') + 1)

const name = '[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?'
const Kdc = z
  .string()
  .regex(
    new RegExp(`^(${name}|\\[[0-9a-fA-F:]{2,45}\\])(:[1-9][0-9]{0,4})?$`),
    'expected a server such as kdc.lab.example or 10.0.0.5:88',
  )
  .refine((kdc) => !isOfHost(kdc), ofHost)

const Domain = z
  .string()
  .regex(/^\.?[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?$/, 'expected a domain such as lab.example or .lab.example')

const Settings = z.strictObject({
  realm: Realm,
  kdcs: z
    .array(Kdc)
    .min(1, 'expected at least one server')
    .max(16)
    .describe('Servers that give tickets, asked in this order: HOST or HOST:PORT.'),
  domains: z
    .array(Domain)
    .max(64)
    .default([])
    .describe('Hosts and domains (with a leading dot: all hosts below it) whose services are of this realm.'),
})

/** Realms of which tasks may have tickets. */
export const KerberosSettings = z
  .strictObject({
    realms: z
      .array(Settings)
      .max(50)
      .refine((all) => new Set(all.map(({ realm }) => realm)).size === all.length, 'expected each realm once')
      .default([]),
  })
  .meta({ id: 'KerberosSettings' })
export type KerberosSettings = z.output<typeof KerberosSettings>
