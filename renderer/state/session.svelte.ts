import { urlOf } from '../../contract/client.ts'
import type { Version } from '../../contract/objects.ts'
import type { ProblemError } from '../../contract/problem.ts'
import { routes } from '../../contract/routes.ts'
import { type Api, problemFrom } from '../api/client.ts'
import { backOff, sleep } from '../api/retry.ts'

/** must-change: signed in with a one-time password, and good for nothing before another one is chosen. */
export type SessionStatus = 'asking' | 'signed-out' | 'must-change' | 'signed-in'

/** Who is signed in. The token lives in a cookie that scripts cannot read; nothing of it is kept here. */
export class Session {
  readonly #api: Api
  #status = $state<SessionStatus>('asking')
  #user = $state<string | undefined>(undefined)
  /** Who vouched for them: a provider's name, or local. */
  #source: string | undefined
  #version = $state.raw<Version | undefined>(undefined)
  /** Set while the very first question goes unanswered. */
  #trouble = $state.raw<ProblemError | undefined>(undefined)

  readonly #leaveTo: (url: string) => void

  constructor(api: Api, leaveTo = (url: string) => location.assign(url)) {
    this.#api = api
    this.#leaveTo = leaveTo
  }

  get status(): SessionStatus {
    return this.#status
  }
  get user(): string | undefined {
    return this.#user
  }
  get version(): Version | undefined {
    return this.#version
  }
  get trouble(): ProblemError | undefined {
    return this.#trouble
  }

  async open(): Promise<void> {
    void this.#readVersion()
    for (let failures = 0; this.#status === 'asking'; failures++)
      try {
        const { name, must_change, source } = await this.#api.call('me.get', {})
        this.#source = source
        this.#signedIn(name, must_change)
      } catch (error) {
        const problem = problemFrom(error)
        if (problem.code === 'unauthenticated') this.#status = 'signed-out'
        else {
          this.#trouble = problem
          await sleep(backOff(failures))
        }
      }
  }

  async signIn(user: string, password: string): Promise<void> {
    const answer = await this.#api.call('session.create', { body: { user, password } })
    this.#signedIn(answer.user, answer.must_change)
  }

  /** In place of a one-time password. */
  async choosePassword(old: string, chosen: string): Promise<void> {
    await this.#api.call('me.set_password', { body: { old, new: chosen } })
    this.#status = 'signed-in'
  }

  async signOut(): Promise<void> {
    const provider = await this.#providerWithPages()
    await this.#api.call('session.delete', {}).catch(() => undefined)
    this.ended()
    // Else the next click on its button would let anybody at this screen in again, without a word.
    if (provider) this.#leaveTo(urlOf(routes['signIn.end'], { params: { provider } }))
  }

  async #providerWithPages(): Promise<string | undefined> {
    const name = this.#source
    if (name === undefined || name === 'local') return undefined
    const known = await this.#api.call('identityProviders.public', {}).catch(() => ({ items: [] }))
    return known.items.some((one) => one.name === name && one.kind === 'oidc') ? name : undefined
  }

  /** The server no longer knows us. */
  ended(): void {
    this.#status = 'signed-out'
    this.#user = undefined
    this.#source = undefined
  }

  #signedIn(user: string, mustChange = false): void {
    this.#trouble = undefined
    this.#user = user
    this.#status = mustChange ? 'must-change' : 'signed-in'
  }

  async #readVersion(): Promise<void> {
    for (let failures = 0; !this.#version; failures++)
      try {
        this.#version = await this.#api.call('version.get', {})
      } catch {
        await sleep(backOff(failures))
      }
  }
}
