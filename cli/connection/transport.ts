import { randomInt, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, fetch } from 'undici'
import type { Send } from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'

export interface TransportOptions {
  addresses: readonly string[]
  /** The only certificate authority that counts; the system's own are never asked. */
  ca?: string | undefined
  token?: string | undefined
  patienceMs?: number
  /** Called once per request that has to wait, with the reason. */
  onWait?: (reason: string) => void
}

export interface Transport {
  readonly send: Send
  addresses(): readonly string[]
  /** Agents heard of meanwhile, tried when the known ones fail. */
  learn(addresses: readonly string[], ca?: string): void
  close(): Promise<void>
}

/** 503 answers that another agent, or the same one a moment later, may turn into a real one. */
const passing = /"code":\s*"(no_leader|outcome_unknown|busy)"/
/** An agent that holds its peace this long counts as gone. Uploads and commits may take longer than reads. */
const patienceForHeaders = { read: 10_000, write: 60_000 }
/** Streams carry a comment now and then; one silent for longer has a dead peer. */
const streamSilenceMs = 45_000

/** One `Send` over all agents of a cluster: pinned CA, fail-over, back-off, retries that cannot happen twice. */
export function createTransport(options: TransportOptions): Transport {
  const known = [...options.addresses]
  let at = 0
  let dispatcher = pinnedAgent(options.ca)

  async function attempt(origin: string, path: string, init: RequestInit): Promise<Response> {
    const late = new AbortController()
    const limit = init.method === 'GET' ? patienceForHeaders.read : patienceForHeaders.write
    const timer = setTimeout(() => late.abort(new Error(`no answer within ${limit / 1000} s`)), limit)
    const signals = init.signal ? [late.signal, init.signal] : [late.signal]
    try {
      const response = await fetch(origin + path, {
        ...(init as object),
        dispatcher,
        redirect: 'error',
        signal: AbortSignal.any(signals),
      })
      return await settled(response)
    } finally {
      clearTimeout(timer)
    }
  }

  const send: Send = async (path, init) => {
    const request = prepared(init, options.token)
    const deadline = Date.now() + (options.patienceMs ?? 30_000)
    const failures = new Map<string, string>()
    const distrusted = new Set<string>()
    let waits = 0
    for (let tries = 1; ; tries++) {
      const used = at
      const origin = known[used % known.length] ?? ''
      try {
        const response = await attempt(origin, path, request)
        if (tries > 1 && init.method === 'DELETE' && response.status === 404)
          return new Response(null, { status: 204 })
        if (!(await isPassing(response))) return response
        failures.set(origin, 'it has no leader, or too much to do')
        if (Date.now() > deadline) return response
      } catch (error) {
        init.signal?.throwIfAborted()
        failures.set(origin, reasonOf(error))
        if (isDistrust(error)) distrusted.add(origin)
        if (isSpent(init)) throw unreachable(failures, distrusted.size > 0)
      }
      // Others may have turned to the next agent already.
      if (at === used) at++
      if (tries % known.length !== 0) continue
      if (Date.now() > deadline || distrusted.size === known.length)
        throw unreachable(failures, distrusted.size > 0)
      if (waits === 1) options.onWait?.([...failures].map(([o, why]) => `${o}: ${why}`).join('; '))
      await sleep(backOff(waits++), undefined, init.signal ? { signal: init.signal } : {})
    }
  }

  return {
    send,
    addresses: () => known,
    learn: (addresses, ca) => {
      for (const address of addresses) if (!known.includes(address)) known.push(address)
      if (ca) dispatcher = pinnedAgent(ca)
    },
    close: () => dispatcher.destroy(),
  }
}

/**
 * Trusts certificates of this CA and of nothing else. Names are not compared: the CA signs agents of this one
 * cluster only, any of which may answer any request, and hosts change their addresses.
 */
export function pinnedAgent(ca: string | undefined): Agent {
  return new Agent({
    connect: { timeout: 3000, ...(ca ? { ca: [ca], checkServerIdentity: () => undefined } : {}) },
    headersTimeout: 0,
    bodyTimeout: streamSilenceMs,
  })
}

/** Every POST carries a key, so a retry through another agent finds the first one's outcome. */
function prepared(init: RequestInit, token: string | undefined): RequestInit {
  const headers = new Headers(init.headers)
  if (token) headers.set('authorization', `Bearer ${token}`)
  if (init.method === 'POST' && !headers.has('idempotency-key')) headers.set('idempotency-key', randomUUID())
  return { ...init, headers: Object.fromEntries(headers) }
}

/** A JSON answer is read whole here, where a connection lost half-way can still be made good. */
async function settled(response: Response): Promise<Response> {
  if (!response.body || !/[/+]json\b/.test(response.headers.get('content-type') ?? '')) return response
  const { status, headers } = response
  return new Response(await response.text(), { status, headers })
}

const isPassing = async (response: Response) =>
  response.status === 503 && passing.test(await response.clone().text())

/** A stream that was read cannot be sent a second time; texts and file-backed blobs can. */
const isSpent = (init: RequestInit) => init.body instanceof ReadableStream

const backOff = (waits: number) => Math.min(200 * 2 ** waits, 3000) + randomInt(100)

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) return cause.errors[0].message
  return cause instanceof Error ? cause.message : String(cause)
}

function isDistrust(error: unknown): boolean {
  const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined
  return /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test(cause?.code ?? '')
}

function unreachable(failures: Map<string, string>, distrust: boolean): ProblemError {
  const tried = [...failures].map(([origin, why]) => `${origin} (${why})`).join(', ')
  const hint = distrust
    ? 'A certificate did not come from this cluster. If the cluster was made anew, run `submarine login` again.'
    : 'Check that the agents run and that this machine reaches them.'
  return new ProblemError('no_leader', `no agent answered: ${tried}`, { hint })
}
