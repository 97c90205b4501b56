import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Dispatcher, request } from 'undici'
import { ProblemError } from '../../contract/problem.ts'
import type { Body } from './body.ts'
import type { Profile } from './profiles.ts'
import { pinnedAgent } from './trust.ts'

export interface Outgoing {
  method: string
  /** Path and query. */
  path: string
  headers: Record<string, string>
  body: Body
  signal: AbortSignal
}
export interface Incoming {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: AsyncIterable<Uint8Array>
}

/** 503 answers that another agent, or the same a moment later, may turn into a real one. */
const passing = /"code":\s*"(no_leader|outcome_unknown|busy)"/

/** One cluster as the desktop reaches it: the CA pinned, the next agent tried where one fails. */
export class Upstream {
  readonly #patienceMs: number
  readonly #dispatcher: Dispatcher
  #addresses: string[]
  #at = 0
  #closed = false
  constructor(profile: Pick<Profile, 'addresses' | 'ca'>, patienceMs = 10_000) {
    this.#addresses = [...profile.addresses]
    this.#dispatcher = pinnedAgent(profile.ca)
    this.#patienceMs = patienceMs
  }

  get addresses(): readonly string[] {
    return this.#addresses
  }

  learn(addresses: readonly string[]): void {
    this.#addresses = [...new Set([...this.#addresses, ...addresses])]
  }

  /** Ends every request still open. */
  close(): Promise<void> {
    this.#closed = true
    return this.#dispatcher.destroy()
  }

  async send(outgoing: Outgoing): Promise<Incoming> {
    if (outgoing.body.kind === 'stream') return this.#sendOnce(outgoing)
    const headers = { ...outgoing.headers }
    // With a key, a repeat through another agent finds the first one's outcome.
    if (outgoing.method === 'POST') headers['idempotency-key'] ??= randomUUID()
    const deadline = Date.now() + this.#patienceMs
    let failure: unknown
    let strangers = 0
    for (let tries = 1; ; tries++) {
      const at = this.#at
      try {
        const answer = await this.#request({ ...outgoing, headers })
        if (answer.status !== 503) return answer
        const problem = await text(answer.body)
        if (!passing.test(problem) || Date.now() > deadline)
          return { ...answer, body: Readable.from([Buffer.from(problem)]) }
        failure = new Error('the cluster has no leader')
      } catch (error) {
        outgoing.signal.throwIfAborted()
        failure = error
        if (isDistrust(error)) strangers++
      }
      // Others may have turned to the next agent already.
      if (this.#at === at) this.#at++
      if (tries % this.#addresses.length !== 0) continue
      // Waiting does not turn another cluster's certificate into ours.
      if (this.#closed || Date.now() > deadline || strangers === this.#addresses.length)
        throw unreachable(failure)
      strangers = 0
      await sleep(Math.min(100 * tries, 1000), undefined, { signal: outgoing.signal })
    }
  }

  /** A stream cannot be sent twice: a harmless request first finds an agent that answers. */
  async #sendOnce(outgoing: Outgoing): Promise<Incoming> {
    const { signal } = outgoing
    const probe: Outgoing = { method: 'GET', path: '/api/v2/version', headers: {}, body: { kind: 'whole', bytes: undefined }, signal } // prettier-ignore
    await text((await this.send(probe)).body)
    try {
      return await this.#request(outgoing)
    } catch (error) {
      signal.throwIfAborted()
      throw new ProblemError('outcome_unknown', 'the connection broke during the upload', { cause: error })
    }
  }

  async #request({ method, path, headers, body, signal }: Outgoing): Promise<Incoming> {
    const origin = this.#addresses[this.#at % this.#addresses.length] ?? ''
    const answer = await request(origin + path, {
      method: method,
      headers,
      body: body.kind === 'whole' ? (body.bytes ?? null) : Readable.from(body.chunks),
      signal,
      dispatcher: this.#dispatcher,
      // A read that is not answered soon has a dead agent; a write may wait for copies to be durable.
      headersTimeout: method === 'GET' ? 15_000 : 60_000,
    })
    return { status: answer.statusCode, headers: answer.headers, body: answer.body }
  }
}

const isDistrust = (error: unknown) =>
  /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test((error as NodeJS.ErrnoException).code ?? '')

function unreachable(cause: unknown): ProblemError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new ProblemError('no_leader', `no agent of the cluster answers (${why})`, {
    cause,
    hint: isDistrust(cause)
      ? 'A certificate did not come from this cluster. If it was made anew, connect to it again.'
      : 'Check that the agents run and that this machine reaches them.',
  })
}
