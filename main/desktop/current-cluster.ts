import type { Profile } from './profiles.ts'
import { Upstream } from './upstream.ts'

/** The cluster the window shows, the way to it, and who is signed in: tokens live here, never in the page. */
export class CurrentCluster {
  readonly #tokens = new Map<string, string>()
  #open: { profile: Profile; upstream: Upstream } | undefined

  get profile(): Profile | undefined {
    return this.#open?.profile
  }
  get upstream(): Upstream | undefined {
    return this.#open?.upstream
  }
  get token(): string | undefined {
    return this.#open && this.#tokens.get(this.#open.profile.id)
  }

  signedIn(token: string): void {
    if (this.#open) this.#tokens.set(this.#open.profile.id, token)
  }
  signedOut(): void {
    if (this.#open) this.#tokens.delete(this.#open.profile.id)
  }
  forget(id: string): void {
    this.#tokens.delete(id)
  }

  /** Turn to another cluster; what was open to the one before ends. */
  async show(profile: Profile | undefined): Promise<void> {
    const before = this.#open
    this.#open = profile && { profile, upstream: new Upstream(profile) }
    await before?.upstream.close()
  }
}
