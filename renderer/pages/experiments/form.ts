import type { FieldError } from '../../../contract/problem.ts'
import { type ExperimentInput, type ExperimentSpec, parseSpec } from '../../../contract/spec.ts'

/** What the form holds: texts as typed. */
export interface FormValues {
  name: string
  image: string
  command: string
  cpu: string
  memory: string
  gpus: string
  timeout: string
  tags: string
  replicas: string
  env: { name: string; value: string }[]
  /** Code uploaded before, of a clone or the demo. */
  code: ExperimentSpec['code'] | null
  /** Several roles say more than the form can: they are passed on as they are. */
  roles: ExperimentInput['roles'] | null
}

export const emptyForm = (): FormValues => ({
  name: '',
  image: '',
  command: '',
  cpu: '1',
  memory: '1Gi',
  gpus: '0',
  timeout: '',
  tags: '',
  replicas: '1',
  env: [],
  code: null,
  roles: null,
})

const numeric = (text: string): string | number =>
  /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text.trim()

export function toInput(values: FormValues, upload?: string): ExperimentInput {
  const code = upload ? { upload } : values.code
  const tags = values.tags
    .split(',')
    .map((tag) => tag.trim())
    .filter(Boolean)
  const env = Object.fromEntries(
    values.env.filter(({ name }) => name !== '').map(({ name, value }) => [name, value]),
  )
  const replicas = numeric(values.replicas)
  return {
    name: values.name.trim(),
    ...(values.roles
      ? { roles: values.roles }
      : {
          ...(values.image.trim() ? { environment: { image: values.image.trim() } } : {}),
          command: values.command,
          resources: { cpu: numeric(values.cpu), memory: values.memory.trim(), gpu: numeric(values.gpus) },
          ...(Object.keys(env).length ? { env } : {}),
          ...(replicas === 1 ? {} : { roles: { worker: { replicas: replicas as number } } }),
        }),
    ...(code ? { code } : {}),
    ...(tags.length ? { tags } : {}),
    ...(values.timeout.trim() ? { timeout: numeric(values.timeout) } : {}),
  }
}

/** A spec anyone wrote, as form values; nothing when it is no valid spec. */
export function fromInput(input: unknown): FormValues | undefined {
  const parsed = parseSpec(input)
  if (!('spec' in parsed)) return undefined
  // A valid spec is an object; how its author wrote the duration is easier to read than seconds.
  const { timeout } = input as ExperimentInput
  return { ...fromSpec(parsed.spec), ...(typeof timeout === 'string' ? { timeout } : {}) }
}

export function fromSpec(spec: ExperimentSpec): FormValues {
  const all = Object.entries(spec.roles)
  const [only] = all
  const common: FormValues = {
    ...emptyForm(),
    name: spec.name,
    timeout: spec.timeout_seconds === undefined ? '' : timeoutText(spec.timeout_seconds),
    tags: spec.tags.join(', '),
    code: spec.code ?? null,
  }
  if (all.length !== 1 || !only || only[0] !== 'worker')
    return { ...common, roles: Object.fromEntries(all.map(([name, role]) => [name, inputOf(role)])) }
  const role = only[1]
  return {
    ...common,
    image: role.image ?? '',
    command: commandText(role.command),
    cpu: String(role.resources.cpu),
    memory: memoryText(role.resources.memory),
    gpus: String(role.resources.gpu),
    replicas: String(role.replicas),
    env: Object.entries(role.env).map(([name, value]) => ({ name, value })),
  }
}

const inputOf = ({ image, ...role }: ExperimentSpec['roles'][string]) => ({
  ...role,
  ...(image ? { environment: { image } } : {}),
})

/** A script as it was written; other commands as a shell would need them. */
export function commandText(words: readonly string[]): string {
  if (words.length === 3 && words[0] === '/bin/sh' && words[1] === '-c') return words[2] ?? ''
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ')
}

/** The shortest exact spelling: 2Gi, 512Mi, 1000. */
export function memoryText(bytes: number): string {
  for (const [unit, size] of [
    ['Gi', 1024 ** 3],
    ['Mi', 1024 ** 2],
    ['Ki', 1024],
  ] as const)
    if (bytes % size === 0) return `${bytes / size}${unit}`
  return String(bytes)
}

/** The shortest exact spelling: 10 mins, 1 min, 90s. */
export function timeoutText(seconds: number): string {
  if (seconds % 60) return `${seconds}s`
  return seconds === 60 ? '1 min' : `${seconds / 60} mins`
}

export type FieldName =
  'name' | 'image' | 'command' | 'cpu' | 'memory' | 'gpus' | 'timeout' | 'tags' | 'replicas' | 'env' | 'code'

export interface PlacedErrors {
  readonly fields: Partial<Record<FieldName, string>>
  /** Errors of no field that the form shows. */
  readonly rest: readonly FieldError[]
}

/** First match wins, so longer pointers stand first. */
const places: readonly [pointer: RegExp, field: FieldName][] = [
  [/^\/name/, 'name'],
  [/^(\/roles\/worker)?\/environment/, 'image'],
  [/^(\/roles\/worker)?\/command/, 'command'],
  [/^(\/roles\/worker)?\/resources\/memory/, 'memory'],
  [/^(\/roles\/worker)?\/resources\/gpu/, 'gpus'],
  [/^(\/roles\/worker)?\/resources/, 'cpu'],
  [/^(\/roles\/worker)?\/env/, 'env'],
  [/^\/roles\/worker\/replicas/, 'replicas'],
  [/^\/timeout/, 'timeout'],
  [/^\/tags/, 'tags'],
  [/^\/code/, 'code'],
]

/** Put every error at the field that its pointer names; several at one field are joined. */
export function placeErrors(errors: readonly FieldError[], passedOn = false): PlacedErrors {
  const fields: Partial<Record<FieldName, string>> = {}
  const rest: FieldError[] = []
  for (const error of errors) {
    const field = places.find(([pointer]) => pointer.test(error.pointer))?.[1]
    if (!field || (passedOn && error.pointer.startsWith('/roles'))) rest.push(error)
    else {
      const key = field === 'env' ? error.pointer.split('/').at(-1) : ''
      const text = key && key !== 'env' ? `${key}: ${error.message}` : error.message
      fields[field] = fields[field] ? `${fields[field]}; ${text}` : text
    }
  }
  return { fields, rest }
}
