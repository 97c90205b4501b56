import { z } from 'zod'
import { fieldsAt, nearest } from './nearest.ts'

/**
 * Every error the API answers, by stable code: HTTP status, title, and what a person can do about it.
 * Shape on the wire: RFC 9457 `application/problem+json` plus `code`, `hint`, `errors`, `request_id`.
 */
export const problems = {
  invalid_request: [400, 'The request is not valid', 'Correct the fields listed under errors.'],
  invalid_spec: [400, 'The experiment spec is not valid', 'Correct the fields listed under errors.'],
  unsupported: [400, 'This version does not support that', 'Leave the part out, or use a newer version.'],
  unauthenticated: [401, 'Sign in first', 'Run `submarine login`, or sign in to the console.'],
  bad_credentials: [401, 'Wrong user name or password', 'Check both; capitals matter.'],
  foreign_origin: [403, 'The request comes from another site', 'Open the console by its own address.'],
  foreign_host: [
    421,
    'This agent does not serve that host name',
    'Use the address the agent was started with; add others by --advertise.',
  ],
  forbidden: [403, 'You may not do that', 'Ask an admin of the cluster.'],
  not_found: [404, 'No such object', 'List the objects to see what exists.'],
  conflict: [
    409,
    'The object is not in a state that allows this',
    'Read it again and retry if it still applies.',
  ],
  already_exists: [409, 'The name is taken', 'Choose another name.'],
  stale_attempt: [409, 'A newer attempt of this task has started', 'Only the newest attempt may write.'],
  removed: [
    410,
    'This node was removed from the cluster',
    'Move its data folder away and join again as a new node: `submarine cluster token` on a machine that is signed in, then `submarine agent start --join TOKEN` here.',
  ],
  watch_expired: [
    410,
    'That resource version is no longer kept',
    'List again, then watch from the new version.',
  ],
  precondition_failed: [412, 'The object was changed meanwhile', 'Read it again and repeat the change.'],
  too_large: [413, 'The request is too large', 'Send less at once.'],
  idempotency_mismatch: [
    422,
    'The idempotency key was used with another request',
    'Use a new Idempotency-Key for a new request.',
  ],
  never_fits: [
    422,
    'No node could ever run this',
    'Ask for what a node can give: `submarine node list` shows what each one has.',
  ],
  rate_limited: [429, 'Too many requests', 'Wait a little and retry.'],
  provider_failed: [
    502,
    'The identity provider answers, but not as it should',
    'An admin of the cluster can find out why: `submarine identity-provider check NAME`.',
  ],
  internal: [500, 'The agent failed to answer', "Look for the request id in the agent's log."],
  busy: [503, 'The cluster takes no more work right now', 'Retry in a moment.'],
  no_leader: [503, 'The cluster has no leader right now', 'Retry; if it lasts, check that most voters run.'],
  outcome_unknown: [
    503,
    'The change was sent, but its end is not known yet',
    'Retry with the same Idempotency-Key: it cannot happen twice.',
  ],
  disk_low: [
    507,
    'The disk of this agent is nearly full',
    'Free space on the agent: it refuses new work before anything is lost.',
  ],
  provider_unreachable: [
    503,
    'The identity provider does not answer',
    'Try again later. Who is signed in stays so, and accounts with a password kept here work meanwhile.',
  ],
  node_unreachable: [503, 'The node that holds this is not reachable', 'Retry when the node is back.'],
} as const satisfies Record<string, readonly [status: number, title: string, hint: string]>

export type ProblemCode = keyof typeof problems

/** One wrong field: JSON pointer into the request body, and what was expected there. */
export const FieldError = z
  .strictObject({ pointer: z.string(), message: z.string() })
  .meta({ id: 'FieldError' })
export type FieldError = z.infer<typeof FieldError>

export const Problem = z
  .object({
    type: z.string().describe('URI reference of the kind of problem.'),
    title: z.string(),
    status: z.int(),
    code: z.enum(Object.keys(problems) as [ProblemCode, ...ProblemCode[]]),
    detail: z.string().optional().describe('What was wrong in this request.'),
    hint: z.string().describe('What to do about it.'),
    errors: z.array(FieldError).optional(),
    instance: z.string().optional(),
    request_id: z.string().optional(),
  })
  .meta({ id: 'Problem' })
export type Problem = z.infer<typeof Problem>

/** An expected failure, carried from wherever it is found to the HTTP reply or the terminal. */
export class ProblemError extends Error {
  readonly code: ProblemCode
  readonly hint: string
  readonly errors: readonly FieldError[] | undefined
  constructor(
    code: ProblemCode,
    detail?: string,
    more: { hint?: string; errors?: readonly FieldError[]; cause?: unknown } = {},
  ) {
    super(detail ?? problems[code][1], { cause: more.cause })
    this.name = 'ProblemError'
    this.code = code
    this.hint = more.hint ?? problems[code][2]
    this.errors = more.errors
  }
  get status(): number {
    return problems[this.code][0]
  }
  toProblem(requestId?: string): Problem {
    const [status, title] = problems[this.code]
    return {
      type: `urn:submarine:problem:${this.code}`,
      title,
      status,
      code: this.code,
      ...(this.message === title ? {} : { detail: this.message }),
      hint: this.hint,
      ...(this.errors ? { errors: [...this.errors] } : {}),
      ...(requestId ? { request_id: requestId } : {}),
    }
  }
}

/** RFC 6901 pointer of a path; `['roles', 'worker', 'cpu']` → `/roles/worker/cpu`. */
export function pointer(path: readonly PropertyKey[]): string {
  return path.map((part) => '/' + String(part).replaceAll('~', '~0').replaceAll('/', '~1')).join('')
}

/**
 * The field errors of a failed zod parse; unknown keys are reported one by one at their own pointer, with the field of
 * the schema that was probably meant.
 */
export function fieldErrors(
  error: z.ZodError,
  prefix: readonly PropertyKey[] = [],
  schema?: z.ZodType,
): FieldError[] {
  return faultsOf(error, [], { prefix, schema })
}

interface Parsed {
  readonly prefix: readonly PropertyKey[]
  readonly schema: z.ZodType | undefined
}

function faultsOf(error: z.ZodError, base: readonly PropertyKey[], parsed: Parsed): FieldError[] {
  return error.issues.flatMap((issue) => {
    const path = [...base, ...issue.path]
    const at = [...parsed.prefix, ...path]
    if (issue.code === 'unrecognized_keys') {
      const known = fieldsAt(parsed.schema, path)
      return issue.keys.map((key) => ({
        pointer: clip(pointer([...at, key])),
        message: unknownField(key, known),
      }))
    }
    if (issue.code === 'invalid_union') {
      const deepest = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0]
      if (deepest?.length && depth(deepest) > 0) return faultsOf(new z.ZodError(deepest), path, parsed)
      const meant = issue.errors.find((branch) => branch.length > 0 && !branch.some(isOfAnotherKind))
      if (meant) return faultsOf(new z.ZodError(meant), path, parsed)
    }
    if (issue.code === 'invalid_key')
      return faultsOf(new z.ZodError(issue.issues.map((inner) => ({ ...inner, path: [] }))), path, parsed)
    return [{ pointer: clip(pointer(at)), message: clip(issue.message) }]
  })
}

function unknownField(key: string, known: readonly string[]): string {
  const meant = nearest(key, known)
  return meant === undefined ? 'unknown field' : `unknown field; did you mean "${meant}"?`
}

/** The value is not what this branch of a union is for: its complaint would tell nothing. */
const isOfAnotherKind = (issue: z.core.$ZodIssue) =>
  issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')

const depth = (issues: readonly z.core.$ZodIssue[]) =>
  Math.max(0, ...issues.map((issue) => issue.path.length))

/** A key may itself be megabytes of somebody's mistake; the reply must not echo it whole. */
const clip = (text: string) => (text.length > 300 ? `${text.slice(0, 297)}...` : text)
