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
  patienceMs?: number | undefined
  /** The same once an agent has answered: what is followed goes on through restarts. */
  laterPatienceMs?: number | undefined
  /** Called once per request that has to wait, with what for. */
  onWait?: (reason: string) => void
}

/** 503 answers that another agent, or the same one a moment later, may turn into a real one. */
const passing = /"code":\s*"(no_leader|outcome_unknown|busy)"/
const passingWords: Record<string, string> = {
  no_leader: 'it has no leader',
  outcome_unknown: 'it does not know yet what became of the change',
  busy: 'it has too much to do',
}
/** An election takes a few seconds; where there is no majority, nobody should wait much longer for the answer. */
const defaultPatienceMs = 15_000
const tellAfterMs = 3000
/** An agent that holds its peace this long counts as gone. Uploads and commits may take longer than reads. */
const patience = { read: 10_000, write: 60_000 }
/** Streams carry a comment now and then; one silent for longer has a dead peer. */
const streamSilenceMs = 45_000

/** One `Send` over all agents of a cluster: pinned CA, fail-over, back-off, retries that cannot happen twice. */
export class Transport {
  readonly #options: TransportOptions
  readonly #known: string[]
  #at = 0
  #answered = false
  #copyAge: number | 'unknown' | undefined
  #replacedBy: string | undefined
  #dispatcher: Agent
  constructor(options: TransportOptions) {
    this.#options = options
    this.#known = [...options.addresses]
    this.#dispatcher = pinnedAgent(options.ca)
  }

  get addresses(): readonly string[] {
    return this.#known
  }

  /** The only authority that is trusted, PEM. */
  get ca(): string | undefined {
    return this.#options.ca
  }

  /** SHA-256 of the cluster's authority, where an agent said that it is not the first one any more. */
  get replacedBy(): string | undefined {
    return this.#replacedBy
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
    const failures: Failures = { reasons: new Map(), strangers: new Set() }
    const tell = once(() => this.#options.onWait?.(waitingFor(failures)))
    // Sending a file takes as long as it takes.
    const timer = init.body instanceof Blob ? undefined : setTimeout(tell, tellAfterMs)
    try {
      return await this.#persist(path, prepared(init, this.#options.token), failures, tell)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Round after round over the agents, until one answers or patience ends. */
  async #persist(path: string, init: RequestInit, failures: Failures, tell: () => void): Promise<Response> {
    const { patienceMs = defaultPatienceMs, laterPatienceMs = patienceMs } = this.#options
    const deadline = Date.now() + (this.#answered ? laterPatienceMs : patienceMs)
    let last: Response | undefined
    for (let tries = 1, waits = 0; ; tries++) {
      const at = this.#at
      const answer = await this.#attempt(at, path, init, deadline, failures)
      if (answer && tries > 1 && init.method === 'DELETE' && answer.response.status === 404)
        return new Response(null, { status: 204 })
      if (answer && !answer.passing) this.#answered = true
      if (answer && !answer.passing) return answer.response
      last = answer?.response ?? last
      // A stream that was read cannot be sent a second time; texts and file-backed blobs can.
      if (init.body instanceof ReadableStream) return last ?? fail(failures)
      // Others may have turned to the next agent already.
      if (this.#at === at) this.#at++
      if (tries % this.#known.length !== 0) continue
      const pause = backOff(waits++)
      if (Date.now() + pause > deadline || failures.strangers.size === this.#known.length)
        return last ?? fail(failures)
      if (waits === 2) tell()
      await sleep(pause, undefined, init.signal ? { signal: init.signal } : {})
    }
  }

  /** What one agent answers; undefined, with its reason noted, when it does not. */
  async #attempt(
    at: number,
    path: string,
    init: RequestInit,
    deadline: number,
    failures: Failures,
  ): Promise<{ response: Response; passing: boolean } | undefined> {
    const origin = this.#known[at % this.#known.length] ?? ''
    try {
      const response = await fetchInTime(origin + path, init, this.#dispatcher, deadline)
      const why = response.status === 503 ? passing.exec(await response.clone().text())?.[1] : undefined
      this.#noteAge(response.headers.get('submarine-age'))
      this.#replacedBy = response.headers.get('submarine-ca') ?? this.#replacedBy
      if (why) failures.reasons.set(origin, passingWords[why] ?? why)
      return { response, passing: why !== undefined }
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
async function fetchInTime(
  url: string,
  init: RequestInit,
  dispatcher: Agent,
  deadline: number,
): Promise<Response> {
  const late = new AbortController()
  // A read is let go of when patience ends; of a write the answer is worth the wait.
  const left = Math.max(1000, deadline - Date.now())
  const limit = init.method === 'GET' ? Math.min(patience.read, left) : patience.write
  // Sending a file takes as long as it takes; the dispatcher watches that it moves.
  const timer =
    init.body instanceof Blob
      ? undefined
      : setTimeout(() => late.abort(new Error(`no answer within ${Math.round(limit / 1000)} s`)), limit)
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

function waitingFor(failures: Failures): string {
  const lacksLeader = [...failures.reasons.values()].includes(passingWords.no_leader ?? '')
  const why = failures.reasons.size ? ` (${whyOf(failures)})` : ''
  return `waiting for ${lacksLeader ? 'a leader' : 'an agent to answer'}${why}`
}

function once(job: () => void): () => void {
  let done = false
  return () => {
    if (!done) job()
    done = true
  }
}

const whyOf = ({ reasons }: Failures) => [...reasons].map(([origin, why]) => `${origin}: ${why}`).join('; ')

function fail(failures: Failures): never {
  const hint = failures.strangers.size
    ? 'A certificate did not come from this cluster. If the cluster was made anew, run `submarine login` again.'
    : 'Check that the agents run and that this machine reaches them; SUBMARINE_PATIENCE_SECONDS lets it try for longer.'
  throw new ProblemError('no_leader', `no agent answered (${whyOf(failures)})`, { hint })
}
