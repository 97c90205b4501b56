// An OpenID Connect provider for tests: npm's oidc-provider, whose pages take any password of anybody.
import { generateKeyPairSync } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import { once } from 'node:events'
import { type Account, Provider } from 'oidc-provider'

export const client = { id: 'submarine', secret: 'a secret between submarine and the provider' }

/** Whom it knows, by what they type as their login; what it says of them besides. */
export type People = Record<string, Record<string, unknown>>

export interface IssuerOptions {
  readonly people: People
  readonly redirectUris: readonly string[]
  readonly afterSignOut?: readonly string[]
  /** Claims of a person stand in the signed token too, not only where they can be asked for. */
  readonly inToken?: boolean
}

export interface Issuer {
  readonly url: string
  /** The paths that were asked for, without their queries. */
  readonly asked: string[]
  /** Signs with new keys from now on, and shows only those. */
  rotate(): void
  stop(): Promise<void>
}

export async function startIssuer(options: IssuerOptions): Promise<Issuer> {
  let answer: RequestListener = (_request, response) => response.end()
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url?.split('?')[0]}`)
    answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  const rotate = () => {
    answer = providerOf(url, options).callback()
  }
  rotate()
  return {
    url,
    asked,
    rotate,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

let keys = 0

function providerOf(url: string, options: IssuerOptions): Provider {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const key = { ...privateKey.export({ format: 'jwk' }), kid: `key-${++keys}`, use: 'sig', alg: 'RS256' }
  return new Provider(url, {
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        redirect_uris: [...options.redirectUris],
        post_logout_redirect_uris: [...(options.afterSignOut ?? [])],
        response_types: ['code'],
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      },
    ],
    jwks: { keys: [key] },
    cookies: { keys: ['only for tests'] },
    pkce: { required: () => true },
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    scopes: ['openid', 'profile', 'email', 'groups'],
    claims: { profile: ['name', 'preferred_username'], email: ['email'], groups: ['groups'] },
    conformIdTokenClaims: !options.inToken,
    ttl: { AccessToken: 600, DeviceCode: 600, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
    findAccount: (_context: unknown, id: string): Account | undefined => {
      const known = options.people[id]
      return known && { accountId: id, claims: () => ({ sub: id, ...known }) }
    },
  })
}

/** A browser without a screen: follows redirects with its cookies and fills in the provider's forms. */
export class Visitor {
  readonly #jars = new Map<string, Map<string, string>>()
  readonly #login: string

  constructor(login: string) {
    this.#login = login
  }

  /** Goes on until it is sent to an address that begins with `until`; answers that one. */
  async walk(start: string, until: string): Promise<URL> {
    let url = new URL(start)
    let body: URLSearchParams | undefined
    for (let steps = 0; steps < 20; steps++) {
      const response = await this.#send(url, body)
      const location = response.headers.get('location')
      if (location !== null) {
        url = new URL(location, url)
        body = undefined
        if (url.href.startsWith(until)) return url
        continue
      }
      const page = await response.text()
      const action = /<form[^>]* action="([^"]+)"/.exec(page)?.[1]
      if (action === undefined)
        throw new Error(`no form at ${url.href}: HTTP ${response.status} ${page.slice(0, 500)}`)
      body = new URLSearchParams()
      for (const [, name = '', value = ''] of page.matchAll(
        /<input type="hidden" name="([^"]+)" value="([^"]*)"/g,
      ))
        body.set(name, value)
      if (page.includes('name="login"')) {
        body.set('login', this.#login)
        body.set('password', 'any')
      }
      url = new URL(action, url)
    }
    throw new Error(`still at ${url.href}`)
  }

  async #send(url: URL, body: URLSearchParams | undefined): Promise<Response> {
    const jar = this.#jars.get(url.origin) ?? new Map<string, string>()
    this.#jars.set(url.origin, jar)
    const response = await fetch(url, {
      method: body ? 'POST' : 'GET',
      redirect: 'manual',
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(body ? { body } : {}),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '' || /expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(name)
      else jar.set(name, value)
    }
    return response
  }
}
