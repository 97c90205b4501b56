import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from '../../contract/client.ts'
import type { SignedIn } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { plain } from '../output/table.ts'
import type { Terminal } from '../terminal.ts'

/** OAuth 2.0 Device Authorization Grant (RFC 8628), of which the agent does the part that needs the client's secret. */
export async function signInByBrowser(
  terminal: Terminal,
  client: Client,
  provider: string,
): Promise<SignedIn> {
  const params = { provider }
  const { verification_uri, verification_uri_complete, user_code, interval, expires_at, handle } =
    await client.call('signIn.device', { params })
  terminal.err(
    `Open this page in a browser, on any machine, and confirm the code ${plain(user_code)}:\n  ${plain(verification_uri_complete ?? verification_uri)}\n`,
  )
  for (let wait = interval; Date.now() < Date.parse(expires_at);) {
    await delay(wait * 1000)
    const answer = await client.call('signIn.poll', { params, body: { handle } })
    if (answer.signed_in) return answer.signed_in
    wait = answer.interval
  }
  throw new ProblemError('bad_credentials', 'nobody confirmed the code in time', {
    hint: 'Run the command again.',
  })
}
