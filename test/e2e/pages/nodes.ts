import type { Locator } from 'playwright'
import { Shell } from './shell.ts'

interface Meter {
  readonly style: { readonly width: string }
  getAttribute(name: string): string | null
}

export class NodesPage extends Shell {
  row(name: string): Locator {
    return this.main.getByRole('row').filter({ has: this.page.getByRole('link', { name, exact: true }) })
  }

  /** Name and state of every node. */
  async states(): Promise<Record<string, string>> {
    const rows = await this.main.locator('tbody tr').all()
    const states = rows.map(async (row) => [
      (await row.getByRole('link').first().innerText()).trim(),
      (await row.locator('.status').innerText()).trim(),
    ])
    return Object.fromEntries(await Promise.all(states)) as Record<string, string>
  }

  /** What a node's bars say, and how far they reach, to all digits. */
  async bars(name: string): Promise<{ texts: (string | null)[]; widths: string[] }> {
    const meters = this.row(name).getByRole('meter')
    const texts = await meters.evaluateAll((all: readonly Meter[]) =>
      all.map((one) => one.getAttribute('aria-valuetext')),
    )
    const widths = await meters
      .locator('.fill')
      .evaluateAll((all: readonly Meter[]) => all.map((one) => one.style.width))
    return { texts, widths }
  }
}
