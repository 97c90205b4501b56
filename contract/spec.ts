import { z } from 'zod'
import { parseDuration } from './duration.ts'
import { faultsOfSecrets, secretsFields, secretsInput, secretUses } from './secrets.ts'
import { containerAsks, containerFields, containerInput } from './policy.ts'
import { type Need, needError, parseNeed } from './need.ts'
import { ofHost } from './hosts.ts'
import { isReachable } from './images.ts'
import { fieldErrors, type FieldError, pointer } from './problem.ts'
import { defaultResources, Resources } from './resources.ts'
import { parsedBy, schedulingInput, schedulingWords } from './scheduling-input.ts'
import { GpuNeed, schedulingFields } from './scheduling.ts'
import { line, Name, Sha256, text } from './text.ts'

/** Kinds of experiment the design names (requirements E2); `adhoc` is its other word for `script`. */
export const experimentTypes = [
  'script', 'distributed-tf', 'distributed-pytorch', 'mpi', 'spark', 'sql', 'notebook', 'template', 'pipeline',
] as const // prettier-ignore
/** What this version runs; the others are refused by name. */
const supportedTypes = ['script'] as const

const EnvName = line(256).regex(
  /^[A-Za-z_][A-Za-z0-9_]*$/,
  'expected a variable name: letters, digits and "_"',
)
const Env = z
  .record(
    EnvName,
    z.union([text(32 * 1024), z.number().transform(String), z.boolean().transform(String)], {
      error: 'expected a text',
    }),
  )
  .refine((env) => Object.keys(env).length <= 512, 'expected at most 512 variables')
  .refine(
    (env) => !Object.keys(env).some((key) => key.startsWith('SUBMARINE_')),
    'names beginning with SUBMARINE_ are set by the cluster',
  )

const Image = line(512)
  .regex(
    /^[a-z0-9]+([._:/@-]+[A-Za-z0-9]+)*$/,
    'expected an image such as python:3.12 or registry.lab:5000/team/image:tag',
  )
  .refine(isReachable, ofHost)
const Environment = z.union([Name, z.strictObject({ image: Image })], {
  error: 'expected the name of an environment or {image: …}',
})

/** A list is run as it is; a text is run by `sh -c`. */
const Command = z
  .union(
    [
      text(64 * 1024)
        .trim()
        .min(1, 'expected a command')
        .transform((script) => ['/bin/sh', '-c', script]),
      z
        .array(text(64 * 1024))
        .min(1, 'expected a command')
        .max(1024)
        .refine((words) => words[0] !== '', 'expected the first word to name a program'),
    ],
    { error: 'expected a command: a text or a list of texts' },
  )
  .refine(
    (words) => words.reduce((sum, word) => sum + word.length, 0) <= 128 * 1024,
    'expected at most 128 KiB',
  )

const Timeout = parsedBy(
  z.union([z.string(), z.number()], { error: 'expected a duration such as 30 mins, 1h30m or 45s' }),
  parseDuration,
)

const ResourceText = z.string().max(1000, 'expected at most 1000 characters')
const ResourceValue = z.union([z.string().max(300), z.number()])
const ResourceSpec = z
  .union(
    [ResourceText, z.record(z.string(), z.union([ResourceValue, z.record(z.string(), ResourceValue)]))],
    {
      error: needError,
    },
  )
  .transform((input, ctx): Need => {
    const parsed = parseNeed(input)
    if (!('errors' in parsed)) return parsed
    for (const error of parsed.errors)
      ctx.issues.push({ code: 'custom', message: error.message, path: [...error.path], input })
    return z.NEVER
  })

const Code = z.strictObject({
  upload: Sha256.describe('A tar file (gzip or plain) uploaded to /api/v2/blobs, unpacked to /code.'),
  git: z
    .strictObject({ commit: line(64), branch: line(256).optional(), dirty: z.boolean() })
    .optional()
    .describe('Where the uploaded folder came from.'),
})

const RoleInput = z.strictObject({
  replicas: z.int().min(1, 'expected at least 1').max(256, 'expected at most 256').default(1),
  environment: Environment.optional(),
  resources: ResourceSpec.optional(),
  command: Command.optional(),
  env: Env.optional(),
})

const SpecInput = z.strictObject({
  name: Name,
  type: z.enum(supportedTypes, { error: (issue) => typeError(issue.input) }).default('script'),
  environment: Environment.optional(),
  code: Code.optional(),
  command: Command.optional(),
  env: Env.default({}),
  tags: z
    .array(line(64).min(1, 'expected at least one character'))
    .max(64, 'expected at most 64 tags')
    .default([]),
  resources: ResourceSpec.default({ resources: defaultResources }),
  timeout: Timeout.optional(),
  ...schedulingInput,
  ...containerInput,
  ...secretsInput,
  roles: z
    .record(z.string().regex(/^[a-z][a-z0-9]{0,19}$/, 'expected a role such as worker or ps'), RoleInput)
    .refine((roles) => Object.keys(roles).length > 0, 'expected at least one role')
    .refine(
      (roles) => Object.values(roles).reduce((sum, role) => sum + role.replicas, 0) <= 1024,
      'expected at most 1024 tasks in all',
    )
    .optional(),
})

function typeError(input: unknown): string {
  if (typeof input === 'string' && (experimentTypes as readonly string[]).includes(input))
    return `type "${input}" is not supported by this version; supported: script`
  return `expected one of: ${experimentTypes.join(', ')}`
}

const Role = z.strictObject({
  replicas: z.int(),
  image: z.string().optional(),
  image_digest: z
    .string()
    .optional()
    .describe(
      'Of the imported image that the name meant when it was submitted: what all its tasks and attempts run.',
    ),
  resources: Resources,
  gpu: GpuNeed.optional(),
  command: z.array(z.string()),
  env: z.record(z.string(), z.string()),
})

/** The canonical spec: what is stored and answered, every default filled in, every role whole. */
export const ExperimentSpec = z
  .strictObject({
    name: Name,
    type: z.enum(supportedTypes),
    code: Code.optional(),
    tags: z.array(z.string()),
    timeout_seconds: z.int().optional(),
    ...schedulingFields,
    ...containerFields,
    ...secretsFields,
    roles: z.record(z.string(), Role),
  })
  .meta({ id: 'ExperimentSpec' })
export type ExperimentSpec = z.infer<typeof ExperimentSpec>
export type RoleSpec = z.infer<typeof Role>

/** The spec as people write it; the document shows it, `parseSpec` reads it. */
export const ExperimentInput = SpecInput.meta({ id: 'ExperimentInput' })
export type ExperimentInput = z.input<typeof SpecInput>

export type ParsedSpec = { spec: ExperimentSpec } | { errors: FieldError[] }

/** Read a spec in our spelling or the design's own; every fault is answered with its pointer into the input. */
export function parseSpec(input: unknown): ParsedSpec {
  const { value, moved, errors } = readDesignSpelling(input)
  if (errors.length) return { errors }
  const parsed = SpecInput.safeParse(value)
  if (!parsed.success)
    return {
      errors: fieldErrors(parsed.error, [], SpecInput).map((e) => ({
        ...e,
        pointer: original(e.pointer, moved),
      })),
    }
  return canonical(parsed.data, moved)
}

function canonical(input: z.output<typeof SpecInput>, moved: ReadonlyMap<string, string>): ParsedSpec {
  const errors: FieldError[] = []
  const roles: ExperimentSpec['roles'] = {}
  for (const [name, role] of Object.entries<Partial<z.output<typeof RoleInput>>>(
    input.roles ?? { worker: {} },
  )) {
    const environment = role.environment ?? input.environment
    const command = role.command ?? input.command
    if (!command)
      errors.push({
        pointer: original(input.roles ? `/roles/${name}/command` : '/command', moved),
        message: 'expected a command',
      })
    if (typeof environment === 'string')
      errors.push({
        pointer: original(role.environment ? `/roles/${name}/environment` : '/environment', moved),
        message: `no environment is named "${environment}"; give {image: …}`,
      })
    roles[name] = {
      replicas: role.replicas ?? 1,
      ...(typeof environment === 'object' ? { image: environment.image } : {}),
      ...(role.resources ?? input.resources),
      command: command ?? [],
      env: { ...input.env, ...role.env },
    }
  }
  errors.push(...faultsOfArray(input, moved), ...faultsOfSecrets(input.secrets))
  if (errors.length) return { errors }
  const { name, type, code, tags, timeout } = input
  return {
    spec: {
      name,
      type,
      ...(code ? { code } : {}),
      tags,
      ...(timeout ? { timeout_seconds: timeout } : {}),
      ...scheduling(input),
      ...containerAsks(input),
      ...secretUses(input.secrets),
      roles,
    },
  }
}

/** Every field is there only if it was given: what is absent may be the queue's. */
function scheduling({ grace, idle_stop, ...given }: z.output<typeof SpecInput>): Partial<ExperimentSpec> {
  const read = {
    ...Object.fromEntries(
      Object.keys(schedulingFields).map((key) => [key, given[key as keyof typeof given]]),
    ),
    grace_seconds: grace,
    idle_stop_seconds: idle_stop,
  }
  return Object.fromEntries(Object.entries(read).filter(([, value]) => value !== undefined))
}

/** Its tasks stand for themselves, so there is nothing that a second role or replica could do together with them. */
function faultsOfArray(
  { array, roles }: z.output<typeof SpecInput>,
  moved: ReadonlyMap<string, string>,
): FieldError[] {
  if (!array || !roles) return []
  const [name = '', ...more] = Object.keys(roles)
  if (more.length)
    return [
      {
        pointer: original('/array', moved),
        message: `expected one role beside an array, not ${more.length + 1}`,
      },
    ]
  if ((roles[name]?.replicas ?? 1) === 1) return []
  const message = 'expected 1 beside an array, which has one task for each index'
  return [{ pointer: original(`/roles/${name}/replicas`, moved), message }]
}

interface DesignReading {
  value: unknown
  /** New pointer → the pointer where the person wrote it. */
  moved: Map<string, string>
  errors: FieldError[]
}

/** The design's own spelling (requirements E2) turned into ours, field by field; what is given in both is refused. */
function readDesignSpelling(input: unknown): DesignReading {
  const moved = new Map<string, string>()
  const errors: FieldError[] = []
  let value: unknown = input
  let prefix = ''
  if (isObject(value) && Object.keys(value).length === 1 && 'experiment' in value) {
    value = value.experiment
    prefix = '/experiment'
    moved.set('', prefix)
  }
  if (!isObject(value)) return { value, moved, errors }
  const spec: Record<string, unknown> = { ...value }
  const written = (at: string) => moved.get(at) ?? prefix + at
  const rename = (
    object: Record<string, unknown>,
    at: string,
    from: string,
    to: string,
    read = (v: unknown) => v,
  ) => {
    if (!Object.hasOwn(object, from)) return
    if (Object.hasOwn(object, to))
      errors.push({
        pointer: written(at) + pointer([from]),
        message: `is another word for "${to}", which is given too`,
      })
    object[to] = read(object[from])
    moved.set(at + pointer([to]), written(at) + pointer([from]))
    delete object[from]
  }
  const readRole = (object: Record<string, unknown>, at: string) => {
    rename(object, at, 'parameter', 'command')
    rename(object, at, 'resource_constraint', 'resources', (v) =>
      isObject(v) && Object.keys(v).length === 1 && 'res' in v ? v.res : v,
    )
  }
  readRole(spec, '')
  for (const [from, to] of Object.entries(schedulingWords)) rename(spec, '', from, to)
  if (spec.type === 'adhoc') spec.type = 'script'
  for (const role of ['ps', 'worker', 'master'])
    if (Object.hasOwn(spec, role)) {
      if (isObject(spec.roles) && Object.hasOwn(spec.roles, role))
        errors.push({ pointer: `${prefix}/${role}`, message: `the role "${role}" is given under roles too` })
      spec.roles = { ...(isObject(spec.roles) ? spec.roles : {}), [role]: spec[role] }
      moved.set(`/roles/${role}`, `${prefix}/${role}`)
      delete spec[role]
    }
  if (isObject(spec.roles)) {
    const roles = (spec.roles = { ...spec.roles })
    for (const [name, role] of Object.entries(roles))
      if (isObject(role)) {
        const copy = (roles[name] = { ...role })
        readRole(copy, `/roles/${name}`)
      }
  }
  return { value: spec, moved, errors }
}

/** Translate a pointer into the normalised spec back to where it stands in the input: the longest moved part wins. */
function original(at: string, moved: ReadonlyMap<string, string>): string {
  for (let end = at.length; end >= 0; end = at.lastIndexOf('/', end - 1)) {
    const from = moved.get(at.slice(0, end))
    if (from !== undefined) return from + at.slice(end)
    if (end === 0) break
  }
  return at
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
