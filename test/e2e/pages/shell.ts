import type { Locator, Page } from 'playwright'

/** What surrounds every page: the side bar, the banner, the line at the foot. */
export class Shell {
  protected readonly page: Page

  constructor(page: Page) {
    this.page = page
  }

  get main(): Locator {
    return this.page.getByRole('main')
  }

  get heading(): Locator {
    return this.page.getByRole('heading', { level: 1 })
  }

  /** The red strip over the page. */
  get banner(): Locator {
    return this.page.locator('.banner[role="alert"]')
  }

  get foot(): Locator {
    return this.page.getByRole('contentinfo')
  }

  get toasts(): Locator {
    return this.page.locator('.toasts')
  }

  get dialog(): Locator {
    return this.page.getByRole('dialog')
  }

  async go(title: 'Overview' | 'Experiments' | 'Nodes' | 'Events' | 'Settings'): Promise<void> {
    await this.page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: title }).click()
    await this.page.getByRole('heading', { level: 1, name: title }).waitFor()
  }

  /** The page stands: its heading is there and nothing is still being read. */
  async settled(heading?: string): Promise<void> {
    await this.page.getByRole('heading', heading ? { name: heading, exact: true } : { level: 1 }).waitFor()
    await this.page.getByRole('contentinfo').getByText('Live', { exact: true }).waitFor()
    await this.page.locator('main [role="status"]', { hasText: /^Reading / }).waitFor({ state: 'detached' })
  }

  async signOut(): Promise<void> {
    await this.page.locator('.sidebar').getByRole('button', { name: 'Sign out' }).click()
  }

  /** Press a button of the page's head, and in the dialog that asks again the one of the same name. */
  protected async confirmed(verb: string): Promise<void> {
    await this.main.getByRole('button', { name: verb, exact: true }).click()
    await this.dialog.getByRole('button', { name: verb, exact: true }).click()
    await this.dialog.waitFor({ state: 'hidden' })
  }
}
