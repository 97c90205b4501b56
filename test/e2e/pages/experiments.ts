import { Shell } from './shell.ts'

export class ExperimentsPage extends Shell {
  async filter(state: string): Promise<void> {
    await this.main.getByRole('radiogroup', { name: 'State' }).getByText(state).click()
  }

  async search(text: string): Promise<void> {
    await this.main.getByRole('searchbox', { name: 'Search experiments' }).fill(text)
  }

  /** What is shown is filtered by this state and this text. */
  async filters(): Promise<{ state: string; text: string }> {
    const state = await this.main.getByRole('radiogroup', { name: 'State' }).locator(':checked').inputValue()
    return { state, text: await this.main.getByRole('searchbox').inputValue() }
  }

  async names(): Promise<string[]> {
    const names = await this.main.locator('tbody a.row').allInnerTexts()
    return names.map((name) => name.trim())
  }

  async open(name: string): Promise<void> {
    await this.main.locator('tbody').getByRole('link', { name, exact: true }).first().click()
    await this.page.getByRole('heading', { level: 1, name, exact: true }).waitFor()
  }
}
