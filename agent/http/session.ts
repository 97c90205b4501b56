import type { FastifyRequest } from 'fastify'
import type { Problem } from '../../contract/index.ts'

/** The console's session. Scripts cannot read it, other sites cannot send it. */
const cookieName = 'submarine_session'
/** What ties the answer of an identity provider to the browser that asked; sealed. */
const signInName = 'submarine_sign_in'
/** What came of a sign-in, for the console to show once: in an address, anybody could write it. */
const problemName = 'submarine_sign_in_problem'
const signInSeconds = 600
const problemSeconds = 30

type WithHeaders = Pick<FastifyRequest, 'headers'>

export interface Credential {
  readonly token: string
  readonly from: 'bearer' | 'cookie'
}

/** A bearer token, else the session cookie; never anything in the address, which ends up in histories and logs. */
export function credentialOf(request: WithHeaders): Credential | undefined {
  const { authorization } = request.headers
  const bearer = /^bearer +(\S{1,300})$/i.exec(authorization ?? '')?.[1]
  if (bearer) return { token: bearer, from: 'bearer' }
  if (authorization !== undefined) return { token: '', from: 'bearer' }
  const token = cookieIn(request, cookieName)
  return token ? { token: token.slice(0, 300), from: 'cookie' } : undefined
}

function cookieIn({ headers }: WithHeaders, name: string): string | undefined {
  const parts = headers.cookie?.split(';').map((part) => part.trim())
  return parts?.find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1)
}

export function sessionCookie(token: string, expires: string, encrypted: boolean): string {
  return cookie(cookieName, token, `Expires=${new Date(expires).toUTCString()}`, encrypted)
}

export const endedCookie = (encrypted: boolean): string => cookie(cookieName, '', 'Max-Age=0', encrypted)

export const signInKept = (request: WithHeaders): string | undefined => cookieIn(request, signInName)

/** Lax: the browser comes back from another site. */
export const signInCookie = (kept: string, encrypted: boolean): string =>
  written(signInName, kept, ['Path=/api/v2/sign-in', 'HttpOnly', 'SameSite=Lax', `Max-Age=${signInSeconds}`], encrypted) // prettier-ignore

export const signInEnded = (encrypted: boolean): string =>
  written(signInName, '', ['Path=/api/v2/sign-in', 'HttpOnly', 'SameSite=Lax', 'Max-Age=0'], encrypted)

/** The one cookie that the console's script reads. */
export function signInProblem({ code, detail, hint }: Problem, encrypted: boolean): string {
  const text = encodeURIComponent(JSON.stringify({ code, detail, hint }))
  return written(problemName, text, ['Path=/', 'SameSite=Strict', `Max-Age=${problemSeconds}`], encrypted)
}

const cookie = (name: string, value: string, until: string, encrypted: boolean): string =>
  written(name, value, ['Path=/', 'HttpOnly', 'SameSite=Strict', until], encrypted)

const written = (name: string, value: string, attributes: readonly string[], encrypted: boolean): string =>
  [`${name}=${value}`, ...attributes, ...(encrypted ? ['Secure'] : [])].join('; ')
