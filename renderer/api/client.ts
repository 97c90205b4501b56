import {
  type CallInput,
  type CallOutput,
  type Client,
  createClient,
  type Send,
} from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'
import type { Route } from '../../contract/route.ts'
import { type RouteId, routes } from '../../contract/routes.ts'
import { isPassing, type Sleep, withRetry } from './retry.ts'

/** Routes whose reads any agent can answer from its own copy when no leader is there. */
type LocallyReadable =
  | 'cluster.get'
  | 'nodes.list'
  | 'nodes.get'
  | 'experiments.list'
  | 'experiments.get'
  | 'experiments.events'
  | 'events.list'

export interface Read<T> {
  readonly value: T
  /** The answer is this agent's own copy: it may be old. */
  readonly old: boolean
}

export interface Api extends Client {
  /** A strong read, or the agent's own copy while the cluster has no leader. Asked to be strong, it is tried first. */
  read<K extends LocallyReadable>(id: K, input: CallInput<K>): Promise<Read<CallOutput<K>>>
}

export interface ApiPorts {
  readonly send: Send
  /** Called on every 401 but the sign-in's own. */
  readonly onSignedOut: () => void
  /** No leader is there, as far as is known: to ask for a strong read would be in vain. */
  readonly withoutLeader?: () => boolean
  readonly sleep?: Sleep
}

/** The contract's client for a person in front of it: passing failures are retried where a repeat cannot do harm. */
export function createApi({ send, onSignedOut, withoutLeader, sleep }: ApiPorts): Api {
  const client = createClient(send)
  const guard = async <T>(operation: Promise<T>): Promise<T> => {
    try {
      return await operation
    } catch (error) {
      if (error instanceof ProblemError && error.code === 'unauthenticated') onSignedOut()
      throw error
    }
  }
  const call: Client['call'] = (id, input) => {
    const route: Route = routes[id]
    const safe = route.method === 'GET' || route.method === 'DELETE'
    const headers =
      route.idempotent && route.method === 'POST'
        ? { 'idempotency-key': newKey(), ...input.headers }
        : input.headers
    const sent = headers ? { ...input, headers } : input
    const attempts = safe || headers?.['idempotency-key'] ? 4 : 1
    return guard(
      withRetry(() => client.call(id, sent), { attempts, signal: input.signal, ...(sleep && { sleep }) }),
    )
  }
  return {
    call,
    raw: ((...parts) => guard(client.raw(...parts))) as Client['raw'],
    events: async function* <K extends RouteId>(id: K, input: CallInput<K>) {
      try {
        yield* client.events(id, input)
      } catch (error) {
        if (error instanceof ProblemError && error.code === 'unauthenticated') onSignedOut()
        throw error
      }
    },
    async read(id, input) {
      const own = async () => {
        const query = { ...(input.query as object | undefined), consistency: 'local' }
        return { value: await guard(client.call(id, { ...input, query })), old: true }
      }
      const { consistency } = (input.query ?? {}) as { consistency?: string }
      if (withoutLeader?.() && consistency !== 'strong') return own()
      try {
        return { value: await guard(client.call(id, input)), old: false }
      } catch (error) {
        if (!isPassing(error)) throw error
        return own()
      }
    },
  }
}

/** The browser's `fetch`, relative to the page's own origin; silence becomes a problem like any other. */
export const sameOrigin: Send = async (path, init) => {
  try {
    return await fetch(path, { ...init, credentials: 'same-origin' })
  } catch (cause) {
    if (init.signal?.aborted) throw cause
    throw new ProblemError('no_leader', 'The agent behind this page does not answer', {
      hint: 'Check that it runs, or open the console of another agent of the cluster.',
      cause,
    })
  }
}

/** Not `crypto.randomUUID`: that exists on HTTPS and loopback pages only. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  )

/** Anything thrown, as the one kind of error the pages show. */
export const problemFrom = (error: unknown): ProblemError =>
  error instanceof ProblemError
    ? error
    : new ProblemError('internal', error instanceof Error ? error.message : String(error), {
        hint: 'Reload the page; if it comes again, report it with this text.',
      })
