import { z } from 'zod'
import { isOfHost, ofHost } from './hosts.ts'
import { Reason } from './reason.ts'
import { line, ResourceVersion, Time } from './text.ts'

/** `sha256:` and 64 hex digits, as engines and registries write digests. */
export const ImageDigest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected sha256: and 64 hex digits')

const part = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const host = '(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?|\\[[0-9a-fA-F:]+\\](?::[0-9]+)?)'
const reference = new RegExp(
  `^(?:(${host})/)?(${part}(?:/${part})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`,
)

export interface ImageReference {
  /** Host of the registry; absent: Docker Hub. */
  readonly registry?: string
  /** Without the registry: `library/python`, `ana/tool`. */
  readonly repository: string
  /** Absent where only a digest is named. */
  readonly tag?: string
  readonly digest?: string
}

/** The parts of an image's name as Docker reads it; undefined when it is none. */
export function parseImage(name: string): ImageReference | undefined {
  if (name.length > 512) return undefined
  // `ana/tool`: what stands before the first slash is a host only if it looks like one.
  const first = name.split('/', 1)[0] ?? ''
  const isHost = first !== name && (/[.:[]/.test(first) || first === 'localhost')
  const found = reference.exec(isHost ? name : `docker.io/${name}`)
  const [, registry = '', repository = '', tag, digest] = found ?? []
  if (!found) return undefined
  const hub = registry === 'docker.io' || registry === 'index.docker.io'
  return {
    ...(hub ? {} : { registry }),
    repository: hub && !repository.includes('/') ? `library/${repository}` : repository,
    ...(tag !== undefined ? { tag } : digest === undefined ? { tag: 'latest' } : {}),
    ...(digest === undefined ? {} : { digest }),
  }
}

/** Is an image's registry on a network, or Docker Hub? */
export function isReachable(image: string): boolean {
  // What we cannot read an engine might.
  const [host = ''] = image.split('/', 1)
  return host === image || !isOfHost(host)
}

/** The one spelling of a name that people use: `python:3.12`, `ana/tool:latest`, `host:5000/tool@sha256:…`. */
export function formatImage({ registry, repository, tag, digest }: ImageReference): string {
  const short =
    registry === undefined ? repository.replace(/^library\/(?=[^/]*$)/, '') : `${registry}/${repository}`
  return short + (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`)
}

/** Two names that mean the same image become the same text; what is no image's name stays as it is. */
export function normalImage(name: string): string {
  const parsed = parseImage(name)
  return parsed ? formatImage(parsed) : name
}

/** The same image whatever its name means by now: `lab/tool@sha256:…`. */
export function pinnedImage(name: string, digest: string): string {
  const { tag: _, ...parsed } = parseImage(name) ?? { repository: 'image' }
  return formatImage({ ...parsed, digest })
}

/** A name with a tag and no digest: what an image can be called. */
export const ImageName = line(512).refine((name) => {
  const parsed = parseImage(name)
  return parsed !== undefined && parsed.digest === undefined
}, 'expected an image name such as python:3.12 or lab.example:5000/team/tool:v1, in lower case')

const OnNode = z.object({
  node: z.string(),
  name: z.string(),
  engine: z.boolean().describe('Its Docker Engine has it: a task starts there at once.'),
  layers: z.boolean().describe('It keeps a copy of all layers for the cluster.'),
  pull: z
    .object({ bytes: z.int(), total: z.int().nullable() })
    .nullable()
    .describe('Bytes so far, while its engine is getting it.'),
  job: z
    .object({ kind: z.enum(['pull', 'remove']), reason: Reason.nullable() })
    .nullable()
    .describe('What it was asked to do and has not done; with the reason of the last failure.'),
})

/** An image, and where it is. */
export const Image = z
  .object({
    id: ImageDigest.describe('Digest of its manifest; of an image that only engines have: its id there.'),
    names: z.array(z.string()),
    imported: z.boolean().describe('The cluster keeps its layers; else only engines have it.'),
    platforms: z.array(z.object({ os: z.string(), architecture: z.string() })),
    bytes: z.int().describe('Of its layers as they are kept; of an image that only engines have: unpacked.'),
    layers: z.int().nullable(),
    copies: z.int().describe('Nodes that keep all its layers.'),
    created_at: Time.nullable(),
    imported_at: Time.nullable(),
    imported_by: z.string().nullable(),
    last_used_at: Time.nullable().describe('When a task last started from it.'),
    nodes: z.array(OnNode),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Image' })
export type Image = z.infer<typeof Image>

export const ImageJob = z
  .strictObject({
    image: line(512).min(1, 'expected an image').refine(isReachable, ofHost),
    nodes: z
      .array(line(200))
      .max(1000)
      .optional()
      .describe('Names or ids; absent: every node with an engine.'),
  })
  .meta({ id: 'ImageJob' })
export type ImageJob = z.infer<typeof ImageJob>

const seconds = z
  .int()
  .min(0)
  .max(100 * 365 * 86_400)
/** How long what nobody uses is kept. */
export const ImagePolicy = z
  .strictObject({
    engine_unused_seconds: seconds
      .nullable()
      .describe('In engines, of images that agents brought there; null: for ever.'),
    cluster_unused_seconds: seconds
      .nullable()
      .describe('Imported images that an engine has too, and those without a name; null: for ever.'),
  })
  .meta({ id: 'ImagePolicy' })
export type ImagePolicy = z.infer<typeof ImagePolicy>

/** A registry that asks who pulls. What it is told is never shown again. */
export const Registry = z
  .object({
    host: line(300),
    user: z.string().nullable(),
    ca: z.boolean().describe('It is trusted by a certificate authority of its own.'),
    insecure: z.boolean().describe('Plain HTTP, or a certificate that nobody checks.'),
    added_at: Time,
    added_by: z.string(),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Registry' })
export type Registry = z.infer<typeof Registry>

/** HOST or HOST:PORT, as it stands before the first slash of an image's name. */
export const RegistryHost = line(300)
  .refine(
    (name) => parseImage(`${name}/x`)?.registry === name || name === 'docker.io',
    'expected a host as image names begin with it, such as registry.lab or 10.0.0.5:5000',
  )
  .refine((name) => !isOfHost(name), ofHost)

export const RegistryInput = z
  .strictObject({
    host: RegistryHost,
    user: line(300).min(1).optional(),
    password: line(4096).min(1).optional(),
    ca: z.string().max(100_000).optional().describe('Certificates to trust it by, PEM.'),
    insecure: z.boolean().default(false),
  })
  .refine(({ user, password }) => (user === undefined) === (password === undefined), {
    message: 'expected user and password together, or neither',
    path: ['password'],
  })
  .refine(({ ca, insecure }) => !ca || !insecure, {
    message: 'expected a certificate authority or insecure, not both',
    path: ['insecure'],
  })
  .meta({ id: 'RegistryInput' })
export type RegistryInput = z.input<typeof RegistryInput>
