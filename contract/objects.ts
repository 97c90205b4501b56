import { Explanation } from './scheduling.ts'
import { z } from 'zod'
import { Liveness, Node, RuntimeName, Usage } from './nodes.ts'
import { Resources } from './resources.ts'
import { Sharing } from './people.ts'
import { ranks } from './permission.ts'
import { Reason } from './reason.ts'
import { ExperimentSpec } from './spec.ts'
import { State } from './states.ts'
import { ArtifactPath, line, Name, ResourceVersion, Sha256, text, Time } from './text.ts'

// --- people -------------------------------------------------------------------------------------------------

export const SignIn = z
  .strictObject({ user: line(63), password: z.string().max(1024) })
  .meta({ id: 'SignIn' })
export const SignedIn = z
  .object({
    user: Name,
    rank: z.enum(ranks),
    must_change: z
      .boolean()
      .optional()
      .describe('A one-time password: choose another (PUT /me/password) first.'),
    token: z.string().describe('Bearer token.'),
    expires_at: Time,
  })
  .meta({ id: 'SignedIn' })
export type SignedIn = z.infer<typeof SignedIn>

// --- cluster ------------------------------------------------------------------------------------------------

export const Version = z
  .object({
    product: z.literal('submarine-docker-cluster'),
    version: z.string(),
    api: z.literal('v2'),
    cluster: z.object({ id: z.string(), name: z.string() }),
    node: z.object({ id: z.string(), name: z.string() }),
    ca_sha256: z.string().describe("SHA-256 of the cluster's CA certificate (DER), lower-case hex."),
    demo: z.boolean(),
  })
  .meta({ id: 'Version' })
export type Version = z.infer<typeof Version>

export const Member = z
  .object({
    member: z.int().describe('Raft member id; never used again.'),
    node: z.string(),
    name: z.string(),
    address: z.string(),
    role: z.enum(['voter', 'learner', 'joining']),
    leader: z.boolean(),
    reachable: z.boolean().nullable().describe('As the leader sees it; null when not known here.'),
  })
  .meta({ id: 'Member' })
export const Cluster = z
  .object({
    id: z.string(),
    name: z.string(),
    created_at: Time,
    leader: z.string().nullable().describe('Node id of the leader, null when there is none.'),
    term: z.int(),
    commit_index: z.int(),
    applied_index: z.int(),
    voters: z.int(),
    may_fail: z.int().describe('How many voters may fail with the cluster still writing.'),
    members: z.array(Member),
    warnings: z.array(z.string()),
    copy_age: z
      .int()
      .nullable()
      .describe(
        "Seconds since this agent knew its own copy of the state to be as new as the leader's; null when never since it started.",
      ),
  })
  .meta({ id: 'Cluster' })
export type Cluster = z.infer<typeof Cluster>

export const JoinToken = z.object({ token: z.string(), expires_at: Time }).meta({ id: 'JoinToken' })
export const JoinRequest = z
  .strictObject({
    secret: z.string().max(256),
    request: z.string().max(16384).describe('PKCS#10 certificate request, PEM.'),
    name: Name,
    address: line(255),
  })
  .meta({ id: 'JoinRequest' })
export const JoinReply = z
  .object({
    cluster: z.object({ id: z.string(), name: z.string() }),
    member: z.int(),
    node: z.string(),
    certificate: z.string(),
    ca: z.string(),
    former_ca: z.string().optional().describe('Trusted too, while some nodes have certificates of it.'),
    peers: z.array(z.object({ member: z.int(), address: z.string() })),
  })
  .meta({ id: 'JoinReply' })
/** Who signs the nodes' certificates. */
export const Authority = z
  .object({
    ca_sha256: Sha256.describe('SHA-256 of the CA certificate (DER), lower-case hex.'),
    former_sha256: Sha256.nullable().describe('The one before, while it counts too.'),
    waiting: z.array(z.string()).describe('Names of nodes without a certificate of the new one.'),
  })
  .meta({ id: 'Authority' })
export type Authority = z.infer<typeof Authority>
export type JoinToken = z.infer<typeof JoinToken>
export type JoinRequest = z.infer<typeof JoinRequest>
export type JoinReply = z.infer<typeof JoinReply>

/** The key that a passphrase gave, never the passphrase: the file says how, so that it can be opened again. */
export const BackupRequest = z
  .strictObject({
    key: z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'expected 32 bytes as base64url').describe('32 bytes derived from the passphrase, base64url.'),
    kdf: z.strictObject({
      name: z.literal('argon2id'),
      salt: z.string().regex(/^[A-Za-z0-9_-]{16,100}$/, 'expected base64url'),
      memory: z.int().min(8192).max(1 << 20).describe('KiB.'),
      passes: z.int().min(1).max(16),
      parallelism: z.int().min(1).max(16),
    }),
  })
  .meta({ id: 'BackupRequest' }) // prettier-ignore
export type BackupRequest = z.infer<typeof BackupRequest>

// --- experiments, tasks, events -----------------------------------------------------------------------------

export const Task = z
  .object({
    id: z.string(),
    workload: z.string().describe('Id of the experiment it belongs to.'),
    role: z.string(),
    index: z.int(),
    state: State,
    reason: Reason.nullable(),
    attempt: z.int().describe('0 before the first placement.'),
    node: z.string().nullable(),
    node_name: z.string().nullable().describe('The id again where that node was removed.'),
    node_unreachable_since: Time.nullable().describe(
      'Set while it holds resources on a node that does not answer: its state is the last that was heard.',
    ),
    runtime: RuntimeName.nullable(),
    isolation: z.enum(['container', 'none']).nullable(),
    resources: Resources,
    gpus: z.array(z.string()),
    image_id: z
      .string()
      .nullable()
      .optional()
      .describe('Digest of the image it runs or ran from, as its engine names it.'),
    exit_code: z.int().nullable(),
    started_at: Time.nullable(),
    finished_at: Time.nullable(),
    artifacts: z.object({ files: z.int(), bytes: z.int(), copies: z.int() }).nullable(),
    log: z
      .object({ bytes: z.int(), copies: z.int() })
      .nullable()
      .describe('null until sealed at the end of the attempt.'),
    array_index: z.int().optional().describe('Its place in the task array.'),
    evict: z
      .object({
        cause: z.enum(['preempted', 'drained', 'retry', 'idle', 'device_lost', 'reserved']),
        reason: Reason,
        grace_seconds: z.int(),
        then: z.enum(['queue', 'stop', 'fail']),
        at: Time,
      })
      .nullable()
      .optional()
      .describe('Asked to leave its node, and what becomes of it then.'),
    retried: z.int().optional().describe('Failures that were tried again so far.'),
    not_before: Time.nullable().optional().describe('Not placed before: the pause after a failure.'),
    past: z
      .array(
        z.object({
          attempt: z.int(),
          node: z.string().nullable(),
          gpus: z.array(z.string()),
          reason: Reason.nullable(),
          exit_code: z.int().nullable(),
          started_at: Time.nullable(),
          finished_at: Time,
        }),
      )
      .optional()
      .describe('Earlier attempts, the newest last.'),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Task' })
export type Task = z.infer<typeof Task>

/** How many tags an experiment may carry; everything about it stands in every member's memory. */
export const mostTags = 64
const TagKey = line(100)
  .min(1, 'expected at least one character')
  .refine((key) => key === key.trim() && !key.includes('='), 'expected no "=" and no space at either end')

/** RFC 7396: what is left out stays, null takes away. */
export const ExperimentPatch = z
  .strictObject({
    description: text(8000).nullable().optional(),
    tags: z.record(TagKey, text(1000).nullable()).nullable().optional(),
  })
  .meta({ id: 'ExperimentPatch' })
export type ExperimentPatch = z.infer<typeof ExperimentPatch>

export const Experiment = z
  .object({
    id: z.string(),
    name: Name,
    owner: z.string(),
    description: z.string().describe('What people wrote about it since; empty until then.'),
    tags: z
      .record(z.string(), z.string())
      .describe('What people noted about it since, beside the tags in its spec.'),
    spec: ExperimentSpec,
    state: State,
    reason: Reason.nullable(),
    stop_requested: z.boolean(),
    created_at: Time,
    started_at: Time.nullable(),
    finished_at: Time.nullable(),
    tasks: z.array(Task),
    sharing: Sharing.optional(),
    plan: Explanation.optional().describe('Of a dry run: where it would go now, or why it would wait.'),
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Experiment' })
export type Experiment = z.infer<typeof Experiment>

export const Event = z
  .object({
    id: z.string().describe('Grows with time; usable as a cursor.'),
    at: Time,
    code: z.string().describe('Stable, e.g. task.running.'),
    subject: z.object({
      kind: z.enum([
        'experiment',
        'task',
        'node',
        'cluster',
        'user',
        'team',
        'token',
        'identity_provider',
        'image',
        'registry',
        'queue',
        'quota',
        'reservation',
        'secret',
      ]),
      id: z.string(),
    }),
    message: z.string(),
    reason: Reason.nullable(),
    actor: z.string(),
  })
  .meta({ id: 'Event' })
export type Event = z.infer<typeof Event>

// --- logs, metrics, artifacts -------------------------------------------------------------------------------

export const LogLine = z
  .object({
    task: z.string(),
    attempt: z.int(),
    offset: z.int().describe('Byte offset of the record after this one in the attempt’s log: resume there.'),
    time: z.string().describe('RFC 3339, up to nanoseconds.'),
    stream: z.enum(['stdout', 'stderr']),
    text: z.string(),
  })
  .meta({ id: 'LogLine' })
export type LogLine = z.infer<typeof LogLine>

/** NaN and the infinities travel as texts: JSON has no spelling for them. */
export const MetricValue = z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])])
export const MetricPoint = z
  .strictObject({
    key: line(250).min(1, 'expected a key'),
    value: MetricValue,
    step: z.int().default(0),
    time: Time.optional().describe('Default: when the agent received it.'),
  })
  .meta({ id: 'MetricPoint' })
export const MetricBatch = z
  .strictObject({
    task: z
      .string()
      .max(200)
      .optional()
      .describe('Task that measured it; default: the caller’s own, else the first.'),
    points: z.array(MetricPoint).min(1).max(1000),
  })
  .meta({ id: 'MetricBatch' })
export const MetricSeries = z
  .object({
    key: z.string(),
    task: z.string(),
    points: z.array(z.tuple([z.int(), MetricValue, Time])).describe('[step, value, time]'),
  })
  .meta({ id: 'MetricSeries' })
export type MetricPoint = z.infer<typeof MetricPoint>
export type MetricBatch = z.infer<typeof MetricBatch>
export type MetricSeries = z.infer<typeof MetricSeries>

export const Artifact = z
  .object({
    task: z.string(),
    attempt: z.int(),
    path: ArtifactPath,
    bytes: z.int(),
    sha256: Sha256,
    copies: z.int(),
  })
  .meta({ id: 'Artifact' })
export type Artifact = z.infer<typeof Artifact>

export const Blob = z.object({ sha256: Sha256, bytes: z.int(), copies: z.int() }).meta({ id: 'Blob' })
export type Blob = z.infer<typeof Blob>

// --- watching -----------------------------------------------------------------------------------------------

/** One change on the event stream `/api/v2/watch`; the SSE `id` is the resource version after it. */
export const WatchEvent = z
  .discriminatedUnion('kind', [
    z.object({
      kind: z.literal('experiment'),
      type: z.enum(['ADDED', 'MODIFIED', 'DELETED']),
      object: Experiment,
    }),
    z.object({ kind: z.literal('node'), type: z.enum(['ADDED', 'MODIFIED', 'DELETED']), object: Node }),
    z.object({ kind: z.literal('event'), type: z.literal('ADDED'), object: Event }),
    z.object({
      kind: z.literal('bookmark'),
      type: z.literal('BOOKMARK'),
      object: z.object({ resource_version: ResourceVersion, leader: z.string().nullable() }),
    }),
    z.object({
      kind: z.literal('usage'),
      type: z.literal('MODIFIED'),
      object: z.array(
        z.object({
          node: z.string(),
          liveness: Liveness,
          silent_ms: z.int().nullable(),
          usage: Usage.nullable(),
        }),
      ),
    }),
  ])
  .meta({ id: 'WatchEvent' })
export type WatchEvent = z.infer<typeof WatchEvent>
