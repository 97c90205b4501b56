import * as client from 'openid-client'
import { Agent, fetch as undiciFetch } from 'undici'
import { type OidcSettings, ProblemError } from '../../../contract/index.ts'
import { guarded } from '../../outgoing.ts'
import { personFrom } from './claims.ts'
import { KeyUnknown, translated } from './oidc-errors.ts'
import type { Person } from './person.ts'
import { trusted } from './trust.ts'

/** Settings with the client's secret. `version` changes with them. */
export interface OidcAccess {
  readonly name: string
  readonly version: number
  readonly settings: OidcSettings
  readonly secret: string | null
}

/** What must come back unchanged from the browser: it ties the provider's answer to the browser that began. */
export interface Checks {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

const timeoutSeconds = 10
const keepMs = 3_600_000
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

interface Known {
  readonly version: number
  readonly until: number
  readonly configuration: Promise<client.Configuration>
}

/** Talks to OpenID Connect providers; what they say of themselves, and their keys, are kept for a while. */
export class OidcClients {
  readonly #known = new Map<string, Known>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** Where to send the browser. */
  async begin(access: OidcAccess, redirectUri: string): Promise<{ url: URL; checks: Checks }> {
    const configuration = await this.configuration(access)
    const checks = {
      state: client.randomState(),
      nonce: client.randomNonce(),
      verifier: client.randomPKCECodeVerifier(),
    }
    const url = client.buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: access.settings.scopes.join(' '),
      state: checks.state,
      nonce: checks.nonce,
      code_challenge: await client.calculatePKCECodeChallenge(checks.verifier),
      code_challenge_method: 'S256',
    })
    return { url, checks }
  }

  /** Whom the provider vouches for. `returned` is the address that the browser came back to. Throws KeyUnknown, once. */
  async finish(access: OidcAccess, returned: URL, checks: Checks): Promise<Person> {
    const configuration = await this.configuration(access)
    return this.#guarded(access, async () => {
      const tokens = await client.authorizationCodeGrant(configuration, returned, {
        expectedState: checks.state,
        expectedNonce: checks.nonce,
        pkceCodeVerifier: checks.verifier,
        idTokenExpected: true,
      })
      return personFrom(access.settings, configuration, tokens)
    })
  }

  async beginDevice(access: OidcAccess): Promise<client.DeviceAuthorizationResponse> {
    const configuration = await this.configuration(access)
    if (!configuration.serverMetadata().device_authorization_endpoint)
      throw new ProblemError('unsupported', `${access.name} has no sign-in for devices without a browser`, {
        hint: 'Sign in to the console in a browser, make an API token there, and give it as SUBMARINE_TOKEN.',
      })
    return this.#guarded(access, () =>
      client.initiateDeviceAuthorization(configuration, { scope: access.settings.scopes.join(' ') }),
    )
  }

  /** Undefined as long as nobody has confirmed it; `slower`: ask more seldom. */
  async pollDevice(access: OidcAccess, code: string): Promise<Person | 'pending' | 'slower'> {
    const configuration = await this.configuration(access)
    return this.#guarded(access, async () => {
      try {
        const tokens = await client.genericGrantRequest(configuration, deviceGrant, { device_code: code })
        return await personFrom(access.settings, configuration, tokens)
      } catch (error) {
        const why = error instanceof client.ResponseBodyError ? error.error : ''
        if (why === 'authorization_pending') return 'pending'
        if (why === 'slow_down') return 'slower'
        throw error
      }
    })
  }

  /** Where the provider ends its own sign-in; undefined if it has no such page. */
  async end(access: OidcAccess, returnTo: string): Promise<URL | undefined> {
    const configuration = await this.configuration(access)
    if (!configuration.serverMetadata().end_session_endpoint) return undefined
    return client.buildEndSessionUrl(configuration, { post_logout_redirect_uri: returnTo })
  }

  /** What the provider says of itself. */
  configuration(access: OidcAccess): Promise<client.Configuration> {
    const known = this.#known.get(access.name)
    if (known && known.version === access.version && known.until > this.#now()) return known.configuration
    const configuration = discover(access)
    this.#known.set(access.name, { version: access.version, until: this.#now() + keepMs, configuration })
    configuration.catch(() => this.forget(access.name))
    return configuration
  }

  forget(name: string): void {
    this.#known.delete(name)
  }

  /** A key that the provider has changed is asked for anew the next time, at once. */
  async #guarded<T>(access: OidcAccess, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const problem = translated(error)
      if (problem instanceof KeyUnknown) this.forget(access.name)
      throw problem
    }
  }
}

async function discover({ settings, secret }: OidcAccess): Promise<client.Configuration> {
  const dispatcher = new Agent({
    connect: guarded({ timeout: 5000, ca: trusted(settings.ca) }),
    maxResponseSize: 1024 * 1024,
  })
  const issuer = new URL(settings.issuer)
  try {
    return await client.discovery(
      issuer,
      settings.client_id,
      undefined,
      secret === null ? client.None() : authentication(secret),
      {
        timeout: timeoutSeconds,
        [client.customFetch]: (url, options) => undiciFetch(url, { ...(options as object), dispatcher }),
        execute: [
          // Only on this machine: the settings take plain HTTP for no other.
          ...(issuer.protocol === 'http:' ? [client.allowInsecureRequests] : []),
          // The signature counts, whoever was at the other end of the connection.
          client.enableNonRepudiationChecks,
        ],
      },
    )
  } catch (error) {
    throw translated(error)
  }
}

/** As the provider says that it wants it. */
function authentication(secret: string): client.ClientAuth {
  const [basic, post] = [client.ClientSecretBasic(secret), client.ClientSecretPost(secret)]
  return (server, ...rest) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const usesPost = !methods.includes('client_secret_basic') && methods.includes('client_secret_post')
    return (usesPost ? post : basic)(server, ...rest)
  }
}
