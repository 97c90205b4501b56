import { ProblemError } from '../../contract/index.ts'

const telling = new Set(['token', 'access_token', 'id_token', 'api_key', 'apikey', 'auth', 'authorization', 'bearer', 'password', 'secret']) // prettier-ignore
const ours = /sdc_[\w-]{4,}/g
/** What an identity provider sends back is for the callback alone. */
const signIn = /^\/api\/v2\/sign-in\//

/** Addresses end up in histories, in logs of proxies and in what is sent to other sites: nothing secret is taken from one. */
export function checkAddress(url: string): void {
  if (!carriesSecret(url)) return
  throw new ProblemError('invalid_request', 'the address holds a token or a password', {
    hint: 'Send it as `Authorization: Bearer …`. It may be known to others by now: revoke it (`submarine token delete`).',
  })
}

function carriesSecret(url: string): boolean {
  const at = url.indexOf('?')
  if (at < 0 || signIn.test(url)) return false
  for (const [name, value] of new URLSearchParams(url.slice(at)))
    if (telling.has(name.toLowerCase()) || value.search(ours) >= 0) return true
  return false
}
