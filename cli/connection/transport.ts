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

/** 503 answers that another agent, or the same one a moment later, may turn into a real one. */
const passing = /"code":\s*"(no_leader|outcome_unknown|busy)"/
/** An agent that holds its peace this long counts as gone. Uploads and commits may take longer than reads. */
const patience = { read: 10_000, write: 60_000 }
/** Streams carry a comment now and then; one silent for longer has a dead peer. */
const streamSilenceMs = 45_000

/** One `Send` over all agents of a cluster: pinned CA, fail-over, back-off, retries that cannot happen twice. */
export class Transport {
  readonly #options: TransportOptions
  readonly #known: string[]
  #at = 0
  #copyAge: number | 'unknown' | undefined
  #dispatcher: Agent
  constructor(options: TransportOptions) {
    this.#options = options
    this.#known = [...options.addresses]
    this.#dispatcher = pinnedAgent(options.ca)
  }

  get addresses(): readonly string[] {
    return this.#known
  }

  /** Seconds: how old the oldest copy is that answered a local read; undefined when none did. */
  get copyAge(): number | 'unknown' | undefined {
    return this.#copyAge
  }

  /** Agents heard of meanwhile, tried when the known ones fail. */
  learn(addresses: readonly string[], ca?: string): void {
    for (const address of addresses) if (!this.#known.includes(address)) this.#known.push(address)
    if (ca) this.#dispatcher = pinnedAgent(ca)
  }

  close(): Promise<void> {
    return this.#dispatcher.destroy()
  }

  readonly send: Send = async (path, init) => {
    const request = prepared(init, this.#options.token)
    const deadline = Date.now() + (this.#options.patienceMs ?? 30_000)
    const failures: Failures = { reasons: new Map(), strangers: new Set() }
    for (let tries = 1, waits = 0; ; tries++) {
      const at = this.#at
      const answer = await this.#attempt(at, path, request, failures)
      if (answer && tries > 1 && init.method === 'DELETE' && answer.response.status === 404)
        return new Response(null, { status: 204 })
      if (answer && (!answer.passing || Date.now() > deadline)) return answer.response
      // A stream that was read cannot be sent a second time; texts and file-backed blobs can.
      if (init.body instanceof ReadableStream) throw unreachable(failures)
      // Others may have turned to the next agent already.
      if (this.#at === at) this.#at++
      if (tries % this.#known.length !== 0) continue
      if (Date.now() > deadline || failures.strangers.size === this.#known.length) throw unreachable(failures)
      if (waits === 1) this.#options.onWait?.(whyOf(failures))
      await sleep(backOff(waits++), undefined, init.signal ? { signal: init.signal } : {})
    }
  }

  /** What one agent answers; undefined, with its reason noted, when it does not. */
  async #attempt(
    at: number,
    path: string,
    init: RequestInit,
    failures: Failures,
  ): Promise<{ response: Response; passing: boolean } | undefined> {
    const origin = this.#known[at % this.#known.length] ?? ''
    try {
      const response = await fetchInTime(origin + path, init, this.#dispatcher)
      const isPassing = response.status === 503 && passing.test(await response.clone().text())
      this.#noteAge(response.headers.get('submarine-age'))
      if (isPassing) failures.reasons.set(origin, 'it has no leader, or too much to do')
      return { response, passing: isPassing }
    } catch (error) {
      init.signal?.throwIfAborted()
      failures.reasons.set(origin, reasonOf(error))
      if (isDistrust(error)) failures.strangers.add(origin)
      return undefined
    }
  }

  #noteAge(header: string | null): void {
    if (header === null || this.#copyAge === 'unknown') return
    const age = Number(header)
    this.#copyAge = Number.isSafeInteger(age) ? Math.max(this.#copyAge ?? 0, age) : 'unknown'
  }
}

/** Per agent tried in vain: why, and which showed a certificate that is not of this cluster. */
interface Failures {
  readonly reasons: Map<string, string>
  readonly strangers: Set<string>
}

/** A fetch whose headers, and whose whole body if it is JSON, arrive in time. */
async function fetchInTime(url: string, init: RequestInit, dispatcher: Agent): Promise<Response> {
  const late = new AbortController()
  const limit = init.method === 'GET' ? patience.read : patience.write
  // Sending a file takes as long as it takes; the dispatcher watches that it moves.
  const timer =
    init.body instanceof Blob
      ? undefined
      : setTimeout(() => late.abort(new Error(`no answer within ${limit / 1000} s`)), limit)
  const signal = AbortSignal.any(init.signal ? [late.signal, init.signal] : [late.signal])
  try {
    const response = await fetch(url, { ...(init as object), dispatcher, redirect: 'error', signal })
    return await settled(response)
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Trusts certificates of this CA and of nothing else. Names are not compared: the CA signs agents of this one
 * cluster only, any of which may answer any request, and hosts change their addresses.
 */
export function pinnedAgent(ca: string | undefined): Agent {
  return new Agent({
    connect: { timeout: 3000, ...(ca ? { ca: [ca], checkServerIdentity: () => undefined } : {}) },
    headersTimeout: 120_000,
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

const whyOf = ({ reasons }: Failures) => [...reasons].map(([origin, why]) => `${origin}: ${why}`).join('; ')

function unreachable(failures: Failures): ProblemError {
  const hint = failures.strangers.size
    ? 'A certificate did not come from this cluster. If the cluster was made anew, run `submarine login` again.'
    : 'Check that the agents run and that this machine reaches them.'
  return new ProblemError('no_leader', `no agent answered (${whyOf(failures)})`, { hint })
}
