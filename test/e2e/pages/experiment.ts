import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Locator } from 'playwright'
import { Shell } from './shell.ts'

export class ExperimentPage extends Shell {
  get id(): string {
    return /\/experiments\/([^/?]+)/.exec(this.page.url())?.[1] ?? ''
  }

  async state(): Promise<string> {
    return (await this.main.locator('.status.large').innerText()).trim()
  }

  async tab(title: 'Overview' | 'Log' | 'Artifacts' | 'Events' | 'Spec'): Promise<Locator> {
    await this.main.getByRole('tab', { name: title }).click()
    const panel = this.main.getByRole('tabpanel', { name: title })
    await panel.waitFor()
    return panel
  }

  /** How many lines the log has. */
  async lines(): Promise<number> {
    const text = await this.main.getByRole('region', { name: 'Log' }).locator('.count').innerText()
    return Number(text.split(' ')[0]?.replaceAll(',', ''))
  }

  /** The newest value that a chart tells, and what it has drawn. */
  async chart(title: string): Promise<{ last: number; drawn: string }> {
    const chart = this.main.getByRole('figure', { name: title })
    const last = Number(await chart.locator('figcaption b').first().innerText())
    const canvas = chart.locator('canvas')
    return { last, drawn: await canvas.evaluate((drawing: { toDataURL(): string }) => drawing.toDataURL()) }
  }

  get charts(): Locator {
    return this.main.getByRole('figure')
  }

  /** What the Artifacts tab says of a file. */
  async artifact(path: string): Promise<{ row: Locator; sha256: string; copies: string }> {
    const row = this.main
      .getByRole('row')
      .filter({ has: this.page.getByRole('link', { name: path, exact: true }) })
    const columns = await this.main.getByRole('columnheader').allInnerTexts()
    const copies = row.getByRole('cell').nth(columns.findIndex((title) => title.trim() === 'Copies'))
    const sha256 = (await row.locator('code').getAttribute('title')) ?? ''
    return { row, sha256, copies: (await copies.innerText()).trim() }
  }

  /** Download a file by its link; the bytes' SHA-256 and the name it would be kept under. */
  async download(path: string): Promise<{ name: string; sha256: string; bytes: Buffer }> {
    const coming = this.page.waitForEvent('download')
    await this.main.getByRole('link', { name: `Download ${path}` }).click()
    const download = await coming
    const bytes = await readFile(await download.path())
    return {
      name: download.suggestedFilename(),
      sha256: createHash('sha256').update(bytes).digest('hex'),
      bytes,
    }
  }

  stop(): Promise<void> {
    return this.confirmed('Stop')
  }

  delete(): Promise<void> {
    return this.confirmed('Delete')
  }

  async clone(): Promise<void> {
    await this.main.getByRole('link', { name: 'Clone' }).click()
    await this.page.getByRole('heading', { level: 1, name: 'New experiment' }).waitFor()
  }
}
