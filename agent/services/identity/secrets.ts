import { providerContext } from '../../cluster/sealer.ts'
import type { IdentityProviderRow } from '../../cluster/state.ts'
import type { ServiceDeps } from '../context.ts'

/** Secrets of providers, opened once for each version of their rows: a sign-in must not wait for a voter. */
export class ProviderSecrets {
  readonly #open: ServiceDeps['open']
  readonly #known = new Map<string, { readonly version: number; readonly secret: Promise<string> }>()

  constructor({ open }: Pick<ServiceDeps, 'open'>) {
    this.#open = open
  }

  async of({ name, sealed, resource_version }: IdentityProviderRow): Promise<string | null> {
    if (sealed === null) return null
    const known = this.#known.get(name)
    if (known?.version === resource_version) return known.secret
    const secret = this.#open(sealed, providerContext(name))
    this.#known.set(name, { version: resource_version, secret })
    secret.catch(() => this.#known.delete(name))
    return secret
  }
}
