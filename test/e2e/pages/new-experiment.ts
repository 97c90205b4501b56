import type { Locator } from 'playwright'
import { Shell } from './shell.ts'

export class NewExperimentPage extends Shell {
  field(label: string): Locator {
    return this.main.getByLabel(label, { exact: true })
  }

  get submitButton(): Locator {
    return this.main.getByRole('button', { name: 'Submit' })
  }

  async fill(values: Record<string, string>): Promise<void> {
    for (const [label, value] of Object.entries(values)) await this.field(label).fill(value)
  }

  async fillDemo(): Promise<void> {
    await this.main.getByRole('button', { name: 'Demo' }).click()
  }

  /** Submit and come to the new experiment's page. */
  async submit(): Promise<void> {
    await this.submitButton.click()
    await this.page.waitForURL(/\/experiments\/(?!new)[^/]+$/)
  }

  /** What is said at a field that is marked wrong; undefined where it is not marked. */
  async errorAt(label: string): Promise<string | undefined> {
    const field = this.field(label)
    if ((await field.getAttribute('aria-invalid')) !== 'true') return undefined
    const note = await field.getAttribute('aria-describedby')
    return (await this.page.locator(`[id="${note}"]`).innerText()).trim()
  }
}
