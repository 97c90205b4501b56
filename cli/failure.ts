import { ProblemError, type FieldError, type ProblemCode } from '../contract/problem.ts'

/** What the command line itself got wrong: exit code 2. */
export class UsageError extends Error {
  readonly hint: string | undefined
  constructor(message: string, hint?: string) {
    super(message)
    this.name = 'UsageError'
    this.hint = hint
  }
}

/** An end that is decided already, such as the exit code of a task; `message` may be empty. */
export class Exit extends Error {
  readonly code: number
  constructor(code: number, message = '') {
    super(message)
    this.name = 'Exit'
    this.code = code
  }
}

/** Field errors with the place in the file where each was written. */
export class SpecError extends Error {
  readonly lines: readonly string[]
  readonly hint: string
  constructor(message: string, lines: readonly string[], hint = 'Correct the fields listed above.') {
    super(message)
    this.name = 'SpecError'
    this.lines = lines
    this.hint = hint
  }
}

export const exitCode = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  auth: 4,
  conflict: 5,
  unreachable: 6,
  waitTimeout: 124,
  interrupted: 130,
} as const

const byProblem: Partial<Record<ProblemCode, number>> = {
  invalid_request: exitCode.usage,
  invalid_spec: exitCode.usage,
  unsupported: exitCode.usage,
  never_fits: exitCode.usage,
  not_found: exitCode.notFound,
  unauthenticated: exitCode.auth,
  bad_credentials: exitCode.auth,
  forbidden: exitCode.auth,
  conflict: exitCode.conflict,
  already_exists: exitCode.conflict,
  precondition_failed: exitCode.conflict,
  stale_attempt: exitCode.conflict,
  removed: exitCode.conflict,
  idempotency_mismatch: exitCode.conflict,
  no_leader: exitCode.unreachable,
  outcome_unknown: exitCode.unreachable,
  node_unreachable: exitCode.unreachable,
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Exit) return error.code
  if (error instanceof UsageError || error instanceof SpecError) return exitCode.usage
  if (error instanceof ProblemError) return byProblem[error.code] ?? exitCode.failure
  return exitCode.failure
}

const withoutLeader =
  'Most voters must run: `submarine cluster status --local` shows them. Verbs that only read take --local too, and show ' +
  "one agent's own copy, which may be old."

/** The lines a person reads on stderr: what went wrong, where, and what to do about it. */
export function describeFailure(error: unknown): string {
  if (error instanceof Exit) return error.message ? `${error.message}\n` : ''
  const message = error instanceof Error ? error.message : String(error)
  const lines = [`error: ${message}`]
  if (error instanceof SpecError) lines.push(...error.lines.map((line) => `  ${line}`))
  if (error instanceof ProblemError) lines.push(...(error.errors ?? []).map((e) => `  ${fieldLine(e)}`))
  const given =
    error instanceof ProblemError || error instanceof UsageError || error instanceof SpecError
      ? error.hint
      : undefined
  // The API names a query parameter; not every verb has the option that stands for it.
  const hint = given?.includes('consistency=local') ? withoutLeader : given
  if (hint) lines.push(`hint: ${hint}`)
  return lines.join('\n') + '\n'
}

export const fieldLine = (error: FieldError): string => `${error.pointer || '(whole)'}  ${error.message}`
