// What the tests use of oidc-provider, which brings no types.
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http'

  export interface Account {
    readonly accountId: string
    claims(): Record<string, unknown> & { sub: string }
  }

  export class Provider {
    constructor(issuer: string, configuration: Record<string, unknown>)
    callback(): RequestListener
  }
}
