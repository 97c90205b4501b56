import type { ProblemError } from '../../../contract/problem.ts'
import { problemIn } from './problem.ts'

const cookie = 'submarine_sign_in_problem'

/** Why a sign-in by a provider's pages did not succeed, which the agent leaves for the page that one comes back to. Told once. */
export function problemLeft(): ProblemError | undefined {
  const text = document.cookie
    .split('; ')
    .find((part) => part.startsWith(`${cookie}=`))
    ?.slice(cookie.length + 1)
  if (!text) return undefined
  document.cookie = `${cookie}=; Path=/; Max-Age=0; SameSite=Strict`
  return problemIn(text)
}
