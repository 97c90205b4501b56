import { type ProblemCode, ProblemError } from '../../contract/index.ts'

/** `failed`: it certainly did not run. `unknown`: it may have, or may still. */
export type End = 'ok' | 'failed' | 'unknown'

/** Problems with which an agent promises that nothing was changed. */
const harmless: readonly ProblemCode[] = [
  'no_leader',
  'busy',
  'disk_low',
  'not_found',
  'conflict',
  'never_fits',
]
/** No connection, so nothing was sent. */
const unconnected = ['ECONNREFUSED', 'EHOSTUNREACH', 'UND_ERR_CONNECT_TIMEOUT']

export function endOf(error: unknown): Exclude<End, 'ok'> {
  if (error instanceof ProblemError) return harmless.includes(error.code) ? 'failed' : 'unknown'
  return unconnected.includes(causeOf(error)) ? 'failed' : 'unknown'
}

/** Of an agent's own failures also the sentence: none is expected. */
const reasonOf = ({ code, message }: ProblemError) => (code === 'internal' ? `${code}: ${message}` : code)

function causeOf(error: unknown): string {
  const { cause, name } = error as { cause?: { code?: string }; name?: string }
  return cause?.code ?? name ?? String(error)
}

/** What became of all requests, by kind, and why those that failed did. */
export class Tally {
  readonly kinds = new Map<string, Record<End, number>>()
  readonly reasons = new Map<string, number>()

  count(kind: string, end: End, error?: unknown): void {
    const counts = this.kinds.get(kind) ?? { ok: 0, failed: 0, unknown: 0 }
    counts[end]++
    this.kinds.set(kind, counts)
    if (error === undefined) return
    const reason = error instanceof ProblemError ? reasonOf(error) : causeOf(error)
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1)
  }

  total(end: End): number {
    return [...this.kinds.values()].reduce((sum, counts) => sum + counts[end], 0)
  }
}
