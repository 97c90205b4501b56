import { z } from 'zod'
import { Principal } from './kerberos.ts'
import { Sharing } from './people.ts'
import type { FieldError } from './problem.ts'
import { Name, ResourceVersion, text, Time } from './text.ts'

export const secretKinds = ['generic', 's3', 'git', 'registry', 'keytab'] as const
const Kind = z.enum(secretKinds).describe('What it is for; the cluster treats all alike.')

/** Largest secret, bytes. */
export const mostSecretBytes = 64 * 1024

const SecretName = z
  .string({ error: 'expected the name of a secret' })
  .regex(
    /^([A-Za-z0-9][A-Za-z0-9._-]{0,62}\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'expected NAME, or OWNER/NAME for a secret of somebody else',
  )

/** All that is ever told of a secret; never what it is. */
export const Secret = z
  .object({
    id: z.string().describe('OWNER/NAME.'),
    name: Name,
    owner: Name,
    team: Name.nullable(),
    kind: Kind,
    principal: z.string().optional().describe('Of a keytab: tasks are given a ticket for it.'),
    description: z.string(),
    version: z.int().describe('How often it was set.'),
    bytes: z.int(),
    sharing: Sharing,
    created_at: Time,
    updated_at: Time,
    updated_by: z.string(),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Secret' })
export type Secret = z.infer<typeof Secret>

export const SecretInput = z
  .strictObject({
    value: z
      .string({ error: 'expected the secret' })
      .min(1, 'expected at least one character')
      .max(Math.ceil(mostSecretBytes / 3) * 4, `expected at most ${mostSecretBytes / 1024} KiB`),
    encoding: z.enum(['text', 'base64']).default('text').describe('base64: for a secret that is no text.'),
    kind: Kind.optional(),
    principal: Principal.optional().describe(
      'Of a keytab: who it is for, such as ana@LAB.EXAMPLE. Tasks are given a ticket, and the keytab only if they ask for a file.',
    ),
    description: text(500).optional(),
    team: Name.optional().describe('Its members use it too; only for a new secret.'),
  })
  .meta({ id: 'SecretInput' })
export type SecretInput = z.infer<typeof SecretInput>

const EnvName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'expected the name of a variable')
const FileName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'expected the name of a file, which is made in /run/secrets')

const Use = z.strictObject({
  name: SecretName,
  env: EnvName.optional(),
  file: FileName.optional(),
  ticket: z.literal(true, { error: 'expected true' }).optional(),
})
/**
 * A secret that tasks are given: as a file in /run/secrets, as a variable, or, of a keytab, a ticket. Without a word a
 * keytab with a principal gives a ticket, and all else a file of its own name.
 */
export type SecretUse = z.output<typeof Use>

export const secretsInput = {
  secrets: z
    .array(
      z.union([SecretName.transform((name): SecretUse => ({ name })), Use], {
        error: 'expected NAME, {name, env}, {name, file} or {name, ticket: true}',
      }),
    ) // prettier-ignore
    .max(32, 'expected at most 32 secrets')
    .optional()
    .describe('Secrets that the tasks are given, in memory: as files in /run/secrets, or as variables.'),
}
export const secretsFields = { secrets: z.array(Use).optional() }

/** Files in /run/secrets that come with a ticket. */
export const ticketFiles = { cache: 'krb5cc', config: 'krb5.conf' } as const

/** The file of a secret for which no other was named. */
export const fileOfSecret = (name: string): string => name.replace(/^.*\//, '')

/** With what was given; where the rest goes depends on what the secrets are. */
export const secretUses = (given: readonly SecretUse[] | undefined): { secrets?: SecretUse[] } =>
  given?.length ? { secrets: [...given] } : {}

/** What is wrong with where the secrets go. */
export function faultsOfSecrets(given: readonly SecretUse[] | undefined): FieldError[] {
  const seen = new Set<string>()
  return (given ?? []).flatMap((use, at): FieldError[] => {
    const pointer = `/secrets/${at}`
    if ([use.env, use.file, use.ticket].filter((word) => word !== undefined).length > 1)
      return [{ pointer, message: 'expected one of env, file and ticket' }]
    if (use.env?.startsWith('SUBMARINE_'))
      return [{ pointer, message: 'names beginning with SUBMARINE_ are set by the cluster' }]
    const taken = placesOf(use).find((place) => seen.has(place))
    if (taken !== undefined)
      return [{ pointer, message: use.ticket ? `a task has one ticket at most, and its files: ${taken} is taken` : `two secrets go to ${taken}` }] // prettier-ignore
    for (const place of placesOf(use)) seen.add(place)
    return []
  })
}

function placesOf({ name, env, file, ticket }: SecretUse): string[] {
  const inMemory = (one: string) => `/run/secrets/${one}`
  if (ticket) return ['$KRB5CCNAME', '$KRB5_CONFIG', ...Object.values(ticketFiles).map(inMemory)]
  return [env === undefined ? inMemory(file ?? fileOfSecret(name)) : `$${env}`]
}
