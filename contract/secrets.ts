import { z } from 'zod'
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
    description: text(500).optional(),
    team: Name.optional().describe('Its members use it too; only for a new secret.'),
  })
  .meta({ id: 'SecretInput' })
export type SecretInput = z.infer<typeof SecretInput>

const EnvName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'expected the name of a variable')
const FileName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'expected the name of a file, which is made in /run/secrets')

const Use = z.strictObject({ name: SecretName, env: EnvName.optional(), file: FileName.optional() })
/** A secret that tasks are given: as a file in /run/secrets, or as a variable. */
export type SecretUse = z.output<typeof Use>

export const secretsInput = {
  secrets: z
    .array(
      z.union([SecretName.transform((name): SecretUse => ({ name })), Use], {
        error: 'expected NAME, or {name, env} or {name, file}',
      }),
    ) // prettier-ignore
    .max(32, 'expected at most 32 secrets')
    .optional()
    .describe('Secrets that the tasks are given, in memory: as files in /run/secrets, or as variables.'),
}
export const secretsFields = { secrets: z.array(Use).optional() }

/** Each with where it goes: without a word, a file of the secret's own name. */
export function secretUses(given: readonly SecretUse[] | undefined): { secrets?: SecretUse[] } {
  if (!given?.length) return {}
  return {
    secrets: given.map(({ name, env, file }) => ({
      name,
      ...(env === undefined ? { file: file ?? name.replace(/^.*\//, '') } : { env }),
    })),
  }
}

/** What is wrong with where the secrets go. */
export function faultsOfSecrets(given: readonly SecretUse[] | undefined): FieldError[] {
  const seen = new Set<string>()
  return (given ?? []).flatMap(({ name, env, file }, at): FieldError[] => {
    const pointer = `/secrets/${at}`
    if (env !== undefined && file !== undefined)
      return [{ pointer, message: 'expected env or file, not both' }]
    if (env?.startsWith('SUBMARINE_'))
      return [{ pointer, message: 'names beginning with SUBMARINE_ are set by the cluster' }]
    const where = env === undefined ? `/run/secrets/${file ?? name.replace(/^.*\//, '')}` : `$${env}`
    if (seen.has(where)) return [{ pointer, message: `two secrets go to ${where}` }]
    seen.add(where)
    return []
  })
}
