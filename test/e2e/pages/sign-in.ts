import type { Locator, Page } from 'playwright'

export class SignInPage {
  readonly #page: Page

  constructor(page: Page) {
    this.#page = page
  }

  get heading(): Locator {
    return this.#page.getByRole('heading', { level: 1, name: 'Sign in' })
  }

  get problem(): Locator {
    return this.#page.getByRole('alert')
  }

  async signIn(user: string, password: string): Promise<void> {
    await this.#page.getByLabel('User name').fill(user)
    await this.#page.getByLabel('Password').fill(password)
    await this.#page.getByRole('button', { name: 'Sign in' }).click()
  }

  /** In place of a one-time one. */
  async choose(password: string): Promise<void> {
    await this.#page.getByRole('heading', { level: 1, name: 'Choose a password' }).waitFor()
    await this.#page.getByLabel('New password').fill(password)
    await this.#page.getByLabel('The same again').fill(password)
    await this.#page.getByRole('button', { name: 'Set the password' }).click()
  }

  /** How to trust the cluster's certificates, opened. */
  async trust(): Promise<{ text: string; fingerprint: string; download: Locator }> {
    const details = this.#page.locator('details', { hasText: 'certificate' })
    await details.locator('summary').click()
    const text = await details.innerText()
    const [fingerprint = ''] = /([0-9A-F]{2}:){31}[0-9A-F]{2}/.exec(text) ?? []
    return { text, fingerprint, download: details.getByRole('link') }
  }
}
