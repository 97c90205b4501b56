import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { Actor, LogLine, queueRoutes, RouteId, Routes } from '../../contract/index.ts'
import type { Services } from '../services/index.ts'
import type { EventReply } from './events.ts'
import type { FileReply } from './files.ts'
import { auditHandlers } from './audit.ts'
import { identityHandlers } from './identity-handlers.ts'
import { ifMatch, lastEventId } from './headers.ts'
import { originOf, peopleHandlers } from './people-handlers.ts'
import { type Credential, endedCookie, sessionCookie } from './session.ts'

type ParamNames<P extends string> = P extends `${string}{${infer Name}}${infer Rest}`
  ? (Name extends `${infer Bare}*` ? Bare : Name) | ParamNames<Rest>
  : never
type Out<T> = T extends z.ZodType ? z.output<T> : never

/** What a handler gets: everything read and checked by the route table, and who asks. */
export interface Call<K extends RouteId> {
  readonly actor: Actor
  readonly credential: Credential | undefined
  readonly params: Readonly<Record<ParamNames<Routes[K]['path']>, string>>
  readonly query: Routes[K] extends { query: infer Q } ? Out<Q> : unknown
  /** A spec stays as it came: it is read by `parseSpec`, which knows the design's own spelling too. */
  readonly body: K extends 'experiments.create'
    ? unknown
    : Routes[K] extends { body: infer B }
      ? Out<B>
      : unknown
  readonly idempotencyKey: string | undefined
  readonly encrypted: boolean
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal
  readonly request: FastifyRequest
  readonly reply: FastifyReply
}

type Answer<K extends RouteId> = Routes[K] extends { stream: 'events' }
  ? EventReply
  : Routes[K] extends { stream: 'bytes' }
    ? FileReply
    : Routes[K] extends { reply: infer R }
      ? Out<R>
      : void

export type Handlers = { [K in RouteId]: (call: Call<K>) => Answer<K> | Promise<Answer<K>> }

/** Every route of the table, each one call of a service. */
export function createHandlers(services: Services): Handlers {
  const { people, cluster, nodes, experiments, events, logs, metrics, artifacts, blobs, watch, monitoring } =
    services
  const { images, registries } = services
  return {
    'version.get': () => cluster.version(),
    'openapi.get': () => cluster.openApi(),
    'ca.get': () => pemFile(cluster.ca()),

    'session.create': async ({ body, request, reply, encrypted }) => {
      const session = await people.signIn(body, originOf(request))
      reply.header('set-cookie', sessionCookie(session.token, session.expires_at, encrypted))
      return session
    },
    'session.delete': async ({ actor, credential, reply, encrypted }) => {
      await people.signOut(actor, credential?.token ?? '')
      reply.header('set-cookie', endedCookie(encrypted))
    },
    'me.get': ({ actor }) => people.me(actor),

    'cluster.get': ({ actor, query }) => cluster.get(actor, query),
    'joinTokens.create': ({ actor }) => cluster.createJoinToken(actor),
    'cluster.join': ({ body }) => cluster.join(body),

    'cluster.rotate_key': ({ actor }) => cluster.rotateKey(actor),
    'cluster.rotate_ca': ({ actor }) => cluster.rotateCa(actor),
    'cluster.finish_ca': ({ actor }) => cluster.finishCa(actor),
    'cluster.backup': async ({ actor, body }) => {
      const bytes = await cluster.backup(actor, body)
      await services.audit.note(actor, backupTaken)
      return {
        name: 'cluster.backup',
        type: 'application/octet-stream',
        attachment: true,
        open: async () => Readable.from(bytes),
      }
    },

    'nodes.list': ({ actor, query }) => nodes.list(actor, query),
    'nodes.get': ({ actor, params, query }) => nodes.get(actor, params.node, query),
    'nodes.edit': ({ actor, params, body }) => nodes.edit(actor, params.node, body),
    'nodes.cordon': ({ actor, params, body }) => nodes.cordon(actor, params.node, body),
    'nodes.uncordon': ({ actor, params }) => nodes.uncordon(actor, params.node),
    'nodes.drain': ({ actor, params, body }) => nodes.drain(actor, params.node, body),
    'nodes.reboot_notice': ({ actor, params, body }) => nodes.rebootNotice(actor, params.node, body),
    'nodes.confirm_down': ({ actor, params }) => nodes.confirmDown(actor, params.node),
    'nodes.remove': ({ actor, params, query }) => nodes.remove(actor, params.node, query),

    'experiments.create': async ({ actor, body, query, idempotencyKey, reply }) => {
      if (query.dry_run) reply.status(200)
      return experiments.create(actor, body, { dryRun: query.dry_run, idempotencyKey })
    },
    'experiments.list': ({ actor, query }) => experiments.list(actor, query),
    'experiments.get': ({ actor, params, query }) => experiments.get(actor, params.experiment, query),
    'experiments.explanation': ({ actor, params, query }) =>
      services.explanations.get(actor, params.experiment, query),
    'experiments.edit': ({ actor, params, body, request }) =>
      experiments.edit(actor, params.experiment, body, ifMatch(request)),
    'experiments.stop': ({ actor, params }) => experiments.stop(actor, params.experiment),
    'experiments.delete': ({ actor, params, request }) =>
      experiments.delete(actor, params.experiment, ifMatch(request)),
    'experiments.events': ({ actor, params, query }) => events.ofExperiment(actor, params.experiment, query),
    'events.list': ({ actor, query }) => events.list(actor, query),

    'experiments.logs': async ({ actor, params, query, request, signal }) => ({
      events: await logs.open(
        actor,
        params.experiment,
        { ...query, lastEventId: lastEventId(request) },
        signal,
      ),
      waitForFirst: !query.follow,
      ...(wantsText(request) ? { asText: (data) => `${(data as LogLine).text}\n` } : {}),
    }),
    'experiments.metrics': ({ actor, params, query }) => metrics.read(actor, params.experiment, query),
    'experiments.log_metrics': ({ actor, params, body }) => metrics.log(actor, params.experiment, body),
    'experiments.artifacts': ({ actor, params, query }) => artifacts.list(actor, params.experiment, query),
    'experiments.artifact': async ({ actor, params }) => {
      const file = await artifacts.file(actor, params.experiment, params.task, params.path)
      const { bytes, sha256, path } = file
      const name = path.split('/').at(-1) ?? path
      // What a task wrote must never run in the console's origin, whatever it calls itself.
      return {
        name,
        bytes,
        etag: sha256,
        type: 'application/octet-stream',
        attachment: true,
        open: (range) => file.open(range),
      }
    },

    'blobs.create': ({ actor, query, request }) =>
      blobs.create(actor, request.raw, { ...query, bytes: Number(request.headers['content-length'] ?? 0) }),

    'monitorTokens.create': ({ actor, query }) => monitoring.createToken(actor, query),
    'monitorTokens.revoke': ({ actor }) => monitoring.revokeTokens(actor),
    'images.import': ({ actor, query, request }) =>
      images.import(actor, request.raw, { ...query, bytes: Number(request.headers['content-length'] ?? 0) }),
    'images.list': ({ actor, query }) => images.list(actor, query),
    'images.get': ({ actor, params, query }) => images.get(actor, params.image, query),
    'images.remove': ({ actor, params }) => images.remove(actor, params.image),
    'images.pull': ({ actor, body }) => images.ask(actor, 'pull', body),
    'images.evict': ({ actor, body }) => images.ask(actor, 'remove', body),
    'images.collect': ({ actor, query }) => images.collect(actor, query),
    'imagePolicy.get': ({ actor, query }) => images.policy(actor, query),
    'imagePolicy.set': ({ actor, body }) => images.setPolicy(actor, body),
    'registries.list': ({ actor, query }) => registries.list(actor, query),
    'registries.add': ({ actor, body }) => registries.add(actor, body),
    'registries.remove': ({ actor, params }) => registries.remove(actor, params.host),

    'policy.get': ({ actor, query }) => services.policy.get(actor, query),
    'secrets.list': ({ actor, query }) => services.secrets.list(actor, query),
    'secrets.get': ({ actor, params, query }) => services.secrets.get(actor, params.secret, query),
    'secrets.put': ({ actor, params, body }) => services.secrets.put(actor, params.secret, body),
    'secrets.delete': ({ actor, params }) => services.secrets.delete(actor, params.secret),
    'secrets.share': ({ actor, params, body }) => services.secrets.share(actor, params.secret, body),

    'policy.set': ({ actor, body }) => services.policy.set(actor, body),
    'kerberos.get': ({ actor, query }) => services.kerberos.get(actor, query),
    'kerberos.set': ({ actor, body }) => services.kerberos.set(actor, body),

    ...orderHandlers(services),
    ...auditHandlers(services),
    ...peopleHandlers(services),
    ...identityHandlers(services),

    watch: ({ actor, query, request, signal }) => {
      const resume = Number(lastEventId(request))
      const after = Number.isSafeInteger(resume) && resume >= 0 ? resume : query.resource_version
      return { events: watch.open(actor, { kinds: query.kinds, after }, signal), waitForFirst: false }
    },
  }
}

type OrderRoute = keyof typeof queueRoutes
function orderHandlers({ order, usage }: Services): Pick<Handlers, OrderRoute> {
  return {
    'queues.list': ({ actor, query }) => order.queues(actor, query),
    'queues.put': ({ actor, params, body, request }) =>
      order.putQueue(actor, params.queue, body, ifMatch(request)),
    'queues.delete': ({ actor, params }) => order.deleteQueue(actor, params.queue),
    'quotas.list': ({ actor, query }) => order.quotas(actor, query),
    'quotas.put': ({ actor, params, body, request }) =>
      order.putQuota(actor, params.subject, body, ifMatch(request)),
    'quotas.delete': ({ actor, params }) => order.deleteQuota(actor, params.subject),
    'reservations.list': ({ actor, query }) => order.reservations(actor, query),
    'reservations.create': ({ actor, body }) => order.reserve(actor, body),
    'reservations.delete': ({ actor, params }) => order.unreserve(actor, params.reservation),
    'prices.get': ({ actor, query }) => order.prices(actor, query),
    'prices.put': ({ actor, body }) => order.putPrices(actor, body),
    'usage.get': ({ actor, query }) => usage.report(actor, query),
    'usage.csv': async ({ actor, query }) => {
      const { name, text } = await usage.csv(actor, query)
      return textFile(name, 'text/csv; charset=utf-8', text)
    },
  }
}

const backupTaken = {
  action: 'cluster.backup',
  object: { kind: 'cluster', id: null },
  message: 'took a backup of the whole state',
}

const pemFile = (pem: string) => textFile('submarine-ca.pem', 'application/x-pem-file', pem)

function textFile(name: string, type: string, text: string): FileReply {
  const bytes = Buffer.from(text)
  const open: FileReply['open'] = async (range) =>
    Readable.from([range ? bytes.subarray(range.start, range.end + 1) : bytes])
  return { name, type, bytes: bytes.length, attachment: true, open }
}

function wantsText({ headers }: FastifyRequest): boolean {
  const accept = headers.accept ?? ''
  return accept.includes('text/plain') && !accept.includes('text/event-stream')
}
