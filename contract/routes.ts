import { z } from 'zod'
import { Artifact, Authority, BackupRequest, Blob, Cluster, Event, Experiment, ExperimentPatch, JoinReply, JoinRequest, JoinToken, LogLine, MetricBatch, MetricSeries, SignedIn, SignIn, Version, WatchEvent } from './objects.ts' // prettier-ignore
import { auditRoutes } from './audit-routes.ts'
import { identityRoutes } from './identity-routes.ts'
import { imageRoutes } from './image-routes.ts'
import { Node } from './nodes.ts' // prettier-ignore
import { nodeRoutes } from './node-routes.ts'
import { planRoutes } from './plan-routes.ts'
import { User } from './people.ts'
import { peopleRoutes } from './people-routes.ts'
import { kerberosRoutes } from './kerberos-routes.ts'
import { policyRoutes } from './policy-routes.ts'
import { secretRoutes } from './secret-routes.ts'
import { queueRoutes } from './queue-routes.ts'
import { monitoringRoutes } from './monitoring-routes.ts'
import { consistency, page, pageOf, type Route } from './route.ts'
import { ExperimentInput } from './spec.ts'
import { states } from './states.ts'
import { Sha256 } from './text.ts'

export const routes = {
  'version.get': { method: 'GET', path: '/version', summary: 'What this agent is, and how to trust it', access: 'public', status: 200, reply: Version, problems: [] },
  'openapi.get': { method: 'GET', path: '/openapi.json', summary: 'This document', access: 'public', status: 200, reply: z.record(z.string(), z.unknown()), problems: [] },
  'ca.get': { method: 'GET', path: '/ca.pem', summary: "The cluster's CA certificate, to trust it by hand", access: 'public', status: 200, stream: 'bytes', problems: [] },

  'session.create': { method: 'POST', path: '/session', summary: 'Sign in with a password; sets a cookie and answers a bearer token', access: 'public', body: SignIn, status: 201, reply: SignedIn, problems: ['bad_credentials', 'rate_limited', 'outcome_unknown'] },
  'session.delete': { method: 'DELETE', path: '/session', summary: 'Sign out', access: 'self:read', status: 204, problems: ['outcome_unknown'] },
  'me.get': { method: 'GET', path: '/me', summary: 'Who I am', access: 'self:read', status: 200, reply: User, problems: [] },

  'cluster.get': { method: 'GET', path: '/cluster', summary: 'Members, leader, health', access: 'cluster:read', query: z.object(consistency), status: 200, reply: Cluster, problems: [] },
  'joinTokens.create': { method: 'POST', path: '/join-tokens', summary: 'A one-use token with which one host joins', access: 'cluster:admin', status: 201, reply: JoinToken, problems: ['outcome_unknown'] },
  'cluster.join': { method: 'POST', path: '/cluster/join', summary: 'Join with a token (used by agents)', access: 'join token', body: JoinRequest, status: 201, reply: JoinReply, problems: ['bad_credentials', 'already_exists', 'outcome_unknown'] },

  'cluster.backup': { method: 'POST', path: '/cluster/backup', summary: 'The whole replicated state at one index, sealed; what lies on nodes as files is not in it', access: 'cluster:admin', body: BackupRequest, status: 200, stream: 'bytes', problems: ['busy', 'node_unreachable'] },
  'cluster.rotate_key': { method: 'POST', path: '/cluster/key/rotate', summary: 'Replace the cluster key; what it protects is wrapped by the new one at once', access: 'cluster:admin', status: 204, problems: ['busy', 'conflict', 'node_unreachable', 'outcome_unknown'] },
  'cluster.rotate_ca': { method: 'POST', path: '/cluster/ca/rotate', summary: 'Replace the certificate authority; the old one counts until all nodes have certificates of the new one', access: 'cluster:admin', status: 200, reply: Authority, problems: ['busy', 'conflict', 'outcome_unknown'] },
  'cluster.finish_ca': { method: 'POST', path: '/cluster/ca/finish', summary: 'End what the former certificate authority counts for, although some nodes have no new certificate', access: 'cluster:admin', status: 200, reply: Authority, problems: ['conflict', 'outcome_unknown'] },

  'nodes.list': { method: 'GET', path: '/nodes', summary: 'All nodes with their live figures', access: 'node:read', query: z.object({ ...page, ...consistency }), status: 200, reply: pageOf(Node), problems: [] },
  'nodes.get': { method: 'GET', path: '/nodes/{node}', summary: 'One node, by id or name', access: 'node:read', query: z.object(consistency), status: 200, reply: Node, problems: ['not_found'] },
  'nodes.remove': {
    method: 'DELETE', path: '/nodes/{node}', summary: 'Remove a node for good: its member id is never used again', access: 'node:admin',
    query: z.object({ force: z.enum(['0', '1', 'false', 'true']).default('0').transform((v) => v === '1' || v === 'true').describe('Although it runs tasks, which then count as failed, or holds the only copy of something.') }),
    status: 204, problems: ['not_found', 'conflict', 'outcome_unknown'],
  },

  ...identityRoutes,
  ...nodeRoutes,

  'experiments.create': {
    method: 'POST', path: '/experiments', summary: 'Submit an experiment', access: 'experiment:create', idempotent: true,
    query: z.object({ dry_run: z.enum(['0', '1', 'false', 'true']).default('0').transform((v) => v === '1' || v === 'true') }),
    body: ExperimentInput, status: 201, reply: Experiment,
    problems: ['invalid_spec', 'never_fits', 'idempotency_mismatch', 'disk_low', 'busy', 'outcome_unknown'],
  },
  'experiments.list': {
    method: 'GET', path: '/experiments', summary: 'Experiments, newest first', access: 'experiment:read',
    query: z.object({ ...page, ...consistency, state: z.enum(states).optional(), owner: z.string().max(63).optional(), name: z.string().max(63).optional() }),
    status: 200, reply: pageOf(Experiment), problems: [],
  },
  'experiments.get': { method: 'GET', path: '/experiments/{experiment}', summary: 'One experiment with its tasks', access: 'experiment:read', query: z.object(consistency), status: 200, reply: Experiment, problems: ['not_found'] },
  'experiments.edit': { method: 'PATCH', path: '/experiments/{experiment}', summary: 'Change its description and tags (RFC 7396); with If-Match only as the caller saw it', access: 'experiment:edit', body: ExperimentPatch, status: 200, reply: Experiment, problems: ['not_found', 'precondition_failed', 'busy', 'outcome_unknown'] },
  'experiments.stop': { method: 'POST', path: '/experiments/{experiment}/stop', summary: 'Stop it: SIGTERM, grace, SIGKILL', access: 'experiment:stop', status: 200, reply: Experiment, problems: ['not_found', 'conflict', 'outcome_unknown'], idempotent: true },
  'experiments.delete': { method: 'DELETE', path: '/experiments/{experiment}', summary: 'Delete a finished experiment with its logs, metrics and artifacts', access: 'experiment:delete', status: 204, problems: ['not_found', 'conflict', 'precondition_failed', 'outcome_unknown'] },
  'experiments.events': { method: 'GET', path: '/experiments/{experiment}/events', summary: 'What happened to it and its tasks, oldest first', access: 'event:read', query: z.object({ ...page, ...consistency }), status: 200, reply: pageOf(Event), problems: ['not_found'] },
  'events.list': { method: 'GET', path: '/events', summary: 'What happened in the cluster, newest first', access: 'event:read', query: z.object({ ...page, ...consistency }), status: 200, reply: pageOf(Event), problems: [] },

  'experiments.logs': {
    method: 'GET', path: '/experiments/{experiment}/logs', summary: 'Log lines of its tasks; with follow=1 until they end', access: 'log:read',
    query: z.object({
      task: z.string().max(200).optional(),
      attempt: z.coerce.number().int().min(1).optional().describe('Default: the newest.'),
      tail: z.coerce.number().int().min(0).max(100_000).optional().describe('Only the last N lines of each task, then follow.'),
      since: z.iso.datetime().optional(),
      search: z.string().max(200).optional().describe('Only lines containing this text, case ignored.'),
      offset: z.coerce.number().int().min(0).optional().describe('Resume one task’s log at this byte offset.'),
      follow: z.enum(['0', '1', 'false', 'true']).default('0').transform((v) => v === '1' || v === 'true'),
    }),
    status: 200, reply: LogLine, stream: 'events', problems: ['not_found', 'node_unreachable'],
  },
  'experiments.metrics': {
    method: 'GET', path: '/experiments/{experiment}/metrics', summary: 'Metric series', access: 'metric:read',
    query: z.object({ key: z.string().max(250).optional(), max_points: z.coerce.number().int().min(2).max(10_000).default(1000).describe('Longer series are thinned to this many points; the first and the last stay.') }),
    status: 200, reply: z.object({ series: z.array(MetricSeries) }), problems: ['not_found', 'node_unreachable'],
  },
  'experiments.log_metrics': { method: 'POST', path: '/experiments/{experiment}/metrics', summary: 'Log metric points; acknowledged when durable on two nodes', access: 'metric:write', body: MetricBatch, status: 200, reply: z.object({ accepted: z.int(), copies: z.int() }), problems: ['not_found', 'conflict', 'stale_attempt', 'node_unreachable', 'disk_low'] },
  'experiments.artifacts': { method: 'GET', path: '/experiments/{experiment}/artifacts', summary: 'Files the tasks left in /output', access: 'artifact:read', query: z.object({ ...page, task: z.string().max(200).optional() }), status: 200, reply: pageOf(Artifact), problems: ['not_found', 'node_unreachable'] },
  'experiments.artifact': { method: 'GET', path: '/experiments/{experiment}/artifacts/{task}/{path*}', summary: 'Download one file; Range is understood', access: 'artifact:read', status: 200, stream: 'bytes', problems: ['not_found', 'node_unreachable'] },

  'blobs.create': { method: 'POST', path: '/blobs', summary: 'Upload a file (a code folder as tar); acknowledged when durable on two nodes', access: 'blob:create', upload: 'bytes', query: z.object({ sha256: Sha256.optional().describe('Refused if the body has another digest.') }), status: 201, reply: Blob, problems: ['too_large', 'disk_low', 'busy', 'node_unreachable'] },

  ...planRoutes,
  ...monitoringRoutes,

  'watch': {
    method: 'GET', path: '/watch', summary: 'Every change, as server-sent events; resumes after resource_version or Last-Event-ID', access: 'self:read',
    query: z.object({
      resource_version: z.coerce.number().int().min(0).optional().describe('Default: now.'),
      kinds: z.string().max(200).default('experiment,node,event,usage').describe('Comma-separated: experiment, node, event, usage.'),
    }),
    status: 200, reply: WatchEvent, stream: 'events', problems: ['watch_expired'],
  },
  ...imageRoutes,
  ...queueRoutes,
  ...auditRoutes,
  ...peopleRoutes,
  ...policyRoutes,
  ...kerberosRoutes,
  ...secretRoutes,
} as const satisfies Record<string, Route> // prettier-ignore

export type Routes = typeof routes
export type RouteId = keyof Routes
