import {
  AuthorizationResponseError,
  ClientError,
  ResponseBodyError,
  WWWAuthenticateChallengeError,
} from 'openid-client'
import { ProblemError } from '../../../contract/index.ts'
import { clip } from './person.ts'

/** Signed by a key that the provider did not show before: it may have new ones. */
export class KeyUnknown extends ProblemError {}

/** What came of an exchange with a provider, as a problem that people understand; the cause is for the agent's log. */
export function translated(error: unknown): unknown {
  if (error instanceof ProblemError) return error
  if (error instanceof AuthorizationResponseError)
    return new ProblemError('bad_credentials', `the identity provider did not sign you in: ${clip(error.error)}`, {
      hint: 'Try again, or ask those who run the identity provider.',
      cause: error,
    }) // prettier-ignore
  if (error instanceof ResponseBodyError) return refused(error)
  if (error instanceof WWWAuthenticateChallengeError) return stranger(error)
  if (!(error instanceof ClientError))
    return new ProblemError('provider_unreachable', 'the identity provider does not answer', { cause: withCause(error) }) // prettier-ignore
  if (error.code === 'OAUTH_KEY_SELECTION_FAILED')
    return new KeyUnknown('provider_failed', 'the identity provider signs with an unknown key', { cause: error }) // prettier-ignore
  if (/TIMEOUT|ABORT/.test(error.code ?? ''))
    return new ProblemError('provider_unreachable', 'the identity provider does not answer', { cause: withCause(error) }) // prettier-ignore
  const why = clip(deepest(error))
  return new ProblemError('provider_failed', `the identity provider's answer does not hold: ${why}`, {
    cause: error,
  })
}

function refused(error: ResponseBodyError): ProblemError {
  if (error.error === 'expired_token')
    return new ProblemError('bad_credentials', 'the sign-in was not confirmed in time', { cause: error })
  if (error.error === 'access_denied')
    return new ProblemError('bad_credentials', 'the sign-in was refused in the browser', { cause: error })
  if (error.error === 'invalid_client' || error.error === 'unauthorized_client') return stranger(error)
  return new ProblemError('provider_failed', `the identity provider refuses: ${clip(error.error)}`, {
    cause: withCause(error),
  })
}

const stranger = (error: Error) =>
  new ProblemError('provider_failed', 'the identity provider does not take the client id or its secret', {
    cause: withCause(error),
  })

function withCause(error: unknown): Error {
  const detail = error instanceof ResponseBodyError ? error.error_description : undefined
  return new Error(clip(detail ?? deepest(error)))
}

/** The libraries wrap what happened several times; the innermost says what it was. */
function deepest(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? deepest(error.cause) : error.message || error.name
}
