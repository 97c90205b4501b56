import { ProblemError, type ProblemCode, problems } from '../../../contract/problem.ts'

/** Anything of this host may have set the cookie. */
export function problemIn(text: string): ProblemError | undefined {
  try {
    const { code, detail, hint } = JSON.parse(decodeURIComponent(text)) as Record<string, unknown>
    if (typeof code !== 'string' || !Object.hasOwn(problems, code)) return undefined
    return new ProblemError(code as ProblemCode, typeof detail === 'string' ? detail : undefined, {
      ...(typeof hint === 'string' ? { hint } : {}),
    })
  } catch {
    return undefined
  }
}
