import type { FastifyRequest } from 'fastify'

/** The console's session. Scripts cannot read it, other sites cannot send it. */
const cookieName = 'submarine_session'

export interface Credential {
  readonly token: string
  readonly from: 'bearer' | 'cookie'
}

/** A bearer token, else the session cookie; never anything in the address, which ends up in histories and logs. */
export function credentialOf({ headers }: Pick<FastifyRequest, 'headers'>): Credential | undefined {
  const bearer = /^bearer +(\S{1,300})$/i.exec(headers.authorization ?? '')?.[1]
  if (bearer) return { token: bearer, from: 'bearer' }
  if (headers.authorization !== undefined) return { token: '', from: 'bearer' }
  const cookie = headers.cookie
    ?.split(';')
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${cookieName}=`))
  const token = cookie?.slice(cookieName.length + 1)
  return token ? { token: token.slice(0, 300), from: 'cookie' } : undefined
}

export function sessionCookie(token: string, expires: string, encrypted: boolean): string {
  return cookie(token, `Expires=${new Date(expires).toUTCString()}`, encrypted)
}

export const endedCookie = (encrypted: boolean): string => cookie('', 'Max-Age=0', encrypted)

function cookie(value: string, until: string, encrypted: boolean): string {
  const parts = [`${cookieName}=${value}`, 'Path=/', 'HttpOnly', 'SameSite=Strict', until]
  return [...parts, ...(encrypted ? ['Secure'] : [])].join('; ')
}
