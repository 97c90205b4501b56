import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Problem, ProblemError } from '../../contract/index.ts'
import type { PeerRequest, PeerResponse, Peers } from '../cluster/cluster.ts'

/** The other agents as the store sees them. */
export interface Group {
  readonly peers: Peers
  readonly self: string
  /** Ids of every node of the cluster, this one included. */
  readonly nodes: () => readonly string[]
}

const day = 24 * 60 * 60 * 1000

export const othersOf = (group: Group): string[] => group.nodes().filter((node) => node !== group.self)

/** Rendezvous hashing: each key has its own stable order of nodes, and a node that leaves moves only its own keys. */
export function ranked(key: string, nodes: readonly string[]): string[] {
  const score = (node: string) => createHash('sha256').update(`${node}\n${key}`).digest('hex')
  return nodes
    .map((node) => ({ node, score: score(node) }))
    .sort((a, b) => (a.score < b.score ? 1 : -1))
    .map(({ node }) => node)
}

/** Without the nodes that the leader cannot reach, unless nothing else is left: it may be wrong, or there is none. */
export function living(group: Group, nodes: readonly string[]): readonly string[] {
  const judged = group.peers.liveness()
  const alive = nodes.filter((node) => judged.get(node)?.liveness !== 'unreachable')
  return alive.length > 0 ? alive : nodes
}

/** Where a second copy of `key` belongs, best first. */
export function placesFor(group: Group, key: string): readonly string[] {
  return living(group, ranked(key, othersOf(group)))
}

/** A request whose failure is always an error, whether the wire or the reply says so. */
export async function ask(peers: Peers, node: string, request: PeerRequest): Promise<PeerResponse> {
  const response = await peers.request(node, request)
  if (response.status < 400) return response
  throw await answeredProblem(response)
}

async function answeredProblem(response: PeerResponse): Promise<ProblemError> {
  if (response.status === 404) {
    discard(response)
    return new ProblemError('not_found')
  }
  const parsed = Problem.safeParse(await readJson(response).catch(() => undefined))
  if (!parsed.success) return new ProblemError('internal', `The agent answered ${response.status}`)
  return new ProblemError(parsed.data.code, parsed.data.detail, { hint: parsed.data.hint })
}

/** Nothing of the body is wanted, but the connection may be used again. */
export function discard(response: PeerResponse): void {
  response.body.on('error', () => undefined).resume()
}

/** A reply of a few fields; longer ones are refused. */
export async function readJson(response: PeerResponse, idleMs = 5_000): Promise<unknown> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const chunk of chunksOf(response.body, idleMs)) {
    bytes += chunk.length
    if (bytes > 64 * 1024) throw new ProblemError('internal', 'The agent answered more than expected')
    parts.push(chunk)
  }
  return JSON.parse(Buffer.concat(parts).toString())
}

/** The chunks of a body. A peer that sends nothing for `idleMs` is as lost as one that hangs up. */
export async function* chunksOf(
  body: Readable,
  idleMs: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const abort = () => body.destroy(new Error('aborted'))
  const stalled = () => body.destroy(new ProblemError('node_unreachable', 'The agent stopped sending'))
  signal?.addEventListener('abort', abort, { once: true })
  let timer = setTimeout(stalled, idleMs)
  try {
    signal?.throwIfAborted()
    for await (const chunk of body) {
      clearTimeout(timer)
      yield chunk as Buffer
      timer = setTimeout(stalled, idleMs)
    }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
    body.on('error', () => undefined).destroy()
  }
}

/** PUT a body of any length: given up when it makes no progress, not when it takes long. */
export async function send(
  group: Group,
  node: string,
  path: string,
  chunks: AsyncIterable<Buffer>,
  options: { readonly idleMs: number; readonly signal?: AbortSignal },
): Promise<PeerResponse> {
  const stalled = new AbortController()
  const timer = setTimeout(() => stalled.abort(new ProblemError('node_unreachable')), options.idleMs)
  const body = streamOf(async function* () {
    for await (const chunk of chunks) {
      timer.refresh()
      yield chunk
    }
    timer.refresh()
  })
  body.on('error', () => undefined)
  const signal = options.signal ? AbortSignal.any([options.signal, stalled.signal]) : stalled.signal
  try {
    return await ask(group.peers, node, { method: 'PUT', path, body, signal, timeoutMs: day })
  } finally {
    clearTimeout(timer)
    body.destroy()
  }
}

/** A Readable over a generator that learns at once when its reader goes away, even while it waits. */
export function streamOf(make: (signal: AbortSignal) => AsyncGenerator<Buffer>): Readable {
  const gone = new AbortController()
  const chunks = make(gone.signal)
  return new Readable({
    highWaterMark: 256 * 1024,
    read() {
      chunks.next().then(
        (next) => this.push(next.done ? null : next.value),
        (error: Error) => this.destroy(error),
      )
    },
    destroy(error, done) {
      gone.abort()
      chunks.return(undefined).then(
        () => done(error),
        () => done(error),
      )
    },
  })
}

/** True after the time, false at once when the signal aborts. */
export async function pause(ms: number, signal?: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {})
    return true
  } catch {
    return false
  }
}

/** The result, or undefined as soon as the signal aborts; the work itself goes on. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const abort = () => resolve(undefined)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
