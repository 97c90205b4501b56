// Images in the console, on real engines: imported, brought to a node over a slow link, removed, and where they come from.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, Locator, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { layerOf, savedArchive } from '../../agent/services/testing/image-archives.ts'
import { Lab } from '../cluster/lab.ts'
import { SlowLink } from '../cluster/slow-link.ts'
import { type Engine, startEngine } from '../docker/engine.ts'
import { allOf, needs } from '../setup/needs.ts'
import { launch, Visit } from './browser.ts'
import { Shell } from './pages/shell.ts'

const MB = 1_000_000
const soon = { timeout: 30_000, interval: 50 }

describe('images in the console', allOf(needs.engine, needs.chromium), () => {
  let root: string
  let lab: Lab
  let browser: Browser
  let visit: Visit
  let page: Page
  const engines: Engine[] = []
  const links: SlowLink[] = []

  beforeAll(async () => {
    // An engine's sockets need a short path.
    root = await mkdtemp('/tmp/i-')
    for (const name of ['a', 'b', 'c']) engines.push(await startEngine({ root: path.join(root, name) }))
    lab = await Lab.start({
      docker: engines.map(({ socket }) => ({ socket })),
      link: async ({ tls }) => {
        const link = await SlowLink.open(tls)
        links.push(link)
        return link.port
      },
    })
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    await lab?.stop()
    links.forEach((link) => link.close())
    await Promise.all(engines.map((engine) => engine.stop()))
    await rm(root, { recursive: true, force: true })
  })
  afterEach(async () => {
    for (const link of links) link.rate = Infinity
    const { faults } = visit
    await visit.close()
    expect(faults).toEqual([])
  })

  async function open(where = '/images', heading = 'Images'): Promise<Locator> {
    visit = await Visit.open(browser, lab.agents[0]?.url ?? '', { token: lab.token, reducedMotion: 'reduce' })
    page = visit.page
    await visit.goto(where)
    await new Shell(page).settled(heading)
    return page.getByRole('main')
  }
  const dialog = () => page.getByRole('dialog')
  const button = (name: string | RegExp, at: Locator = dialog()) => at.getByRole('button', { name })

  async function axe(): Promise<string[]> {
    const { violations } = await new AxeBuilder({ page }).analyze()
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' | ')}`)
  }

  /** Another name for each try: what the first one left must not be in the way. */
  const fresh = () => `lab/tool-${randomBytes(4).toString('hex')}:v1`
  async function archiveOf(bytes: number): Promise<string> {
    const file = path.join(root, `${randomBytes(4).toString('hex')}.tar`)
    const layers = [layerOf(randomBytes(bytes))]
    await writeFile(file, savedArchive([{ layers, names: ['of/the-file:v1'] }]))
    return file
  }

  it('are imported with a name, brought to a node whose link is slow, and removed', async () => {
    const main = await open()
    const name = fresh()
    await button('Import an image', main).click()
    await dialog()
      .getByLabel('File')
      .setInputFiles(await archiveOf(16 * MB))
    await dialog().getByLabel('Name').fill('No Name')
    await dialog()
      .getByText(/expected an image name/)
      .waitFor()
    expect(await button('Import').isDisabled()).toBe(true)
    await dialog().getByLabel('Name').fill(name)
    expect(await axe()).toEqual([])
    await button('Import').click()
    await dialog().waitFor({ state: 'hidden' })
    const row = main.getByRole('row').filter({ hasText: name })
    await row.waitFor()
    expect(await row.innerText()).toMatch(/2 copies/)
    expect(await row.getByText('keeps a copy').count()).toBe(2)

    const { nodes } = await lab.client().call('images.get', { params: { image: name } })
    const third = nodes.find(({ layers }) => !layers)?.name ?? ''
    for (const link of links) link.rate = 2 * MB
    await button(`Change ${name}`, row).click()
    expect(await axe()).toEqual([])
    await button(`Get to ${third}`).click()
    const meter = dialog().getByRole('meter', { name: `${name} on ${third}` })
    await expect.poll(() => meter.getAttribute('aria-valuetext'), soon).toMatch(/ MiB of 15\.\d MiB$/)
    for (const link of links) link.rate = Infinity
    await button(`Remove from ${third}`).waitFor()
    const [engine] = engines.slice(lab.agents.findIndex((agent) => agent.name === third))
    expect((await engine?.docker.getImage(name).inspect())?.RepoTags).toEqual([name])

    await button(`Remove from ${third}`).click()
    await button(`Get to ${third}`).waitFor()
    await button('Remove from the cluster').click()
    await dialog().getByRole('alert').waitFor()
    await button('Keep it').click()
    await button('Remove from the cluster').click()
    await button('Remove for good').click()
    await row.waitFor({ state: 'detached' })
    await expect(lab.client().call('images.get', { params: { image: name } })).rejects.toMatchObject({
      code: 'not_found',
    })
  })

  it('say what is wrong with a file, and why a node could not get one', async () => {
    const main = await open()
    await button('Import an image', main).click()
    visit.expect(/status of 400.*\/api\/v2\/images/)
    const file = path.join(root, 'no-image.tar')
    await writeFile(file, 'hello '.repeat(1000))
    await dialog().getByLabel('File').setInputFiles(file)
    await button('Import').click()
    await dialog()
      .getByRole('alert')
      .getByText(/no image archive/)
      .waitFor()
    expect(await axe()).toEqual([])
    await page.keyboard.press('Escape')
    await dialog().waitFor({ state: 'hidden' })
    expect(await page.locator(':focus').innerText()).toBe('Import an image')

    // The first node's engine has it, so that it stands in the list; nobody else can get it.
    const name = `127.0.0.1:1/${fresh()}`
    const load = await engines[0]?.docker.loadImage(await archiveOf(1000))
    load?.resume()
    await expect
      .poll(
        () =>
          engines[0]?.docker
            .getImage('of/the-file:v1')
            .inspect()
            .catch(() => undefined),
        soon,
      )
      .toBeDefined()
    await engines[0]?.docker.getImage('of/the-file:v1').tag({ repo: name.replace(/:v1$/, ''), tag: 'v1' })
    await engines[0]?.docker.getImage('of/the-file:v1').remove()
    await button('Get one by name', main).click()
    await dialog().getByLabel('Image').fill('Not An Image')
    await dialog()
      .getByText(/expected an image name/)
      .waitFor()
    await dialog().getByLabel('Image').fill(name)
    await dialog().getByLabel('Nodes').selectOption({ label: 'host-2' })
    await button('Get').click()
    await dialog().waitFor({ state: 'hidden' })
    const row = main.getByRole('row').filter({ hasText: name })
    await row.getByText('could not get it').waitFor({ timeout: 60_000 })
    await button(`Change ${name}`, row).click()
    await dialog()
      .getByText(/could not be pulled/)
      .waitFor()
    expect(await axe()).toEqual([])
  })

  it('come from registries that are added and removed by the keyboard alone', async () => {
    const main = await open('/images?tab=registries')
    await main.getByText('No registries').waitFor()
    await button('Add a registry', main).focus()
    await page.keyboard.press('Enter')
    await dialog().getByLabel('Host').focus()
    await page.keyboard.type('registry.lab:5000')
    await page.keyboard.press('Tab')
    await page.keyboard.type('ana')
    await dialog()
      .getByText(/user and password together/)
      .waitFor()
    expect(await axe()).toEqual([])
    await page.keyboard.press('Tab')
    await page.keyboard.type('a secret of the lab')
    await button('Add').focus()
    await page.keyboard.press('Enter')
    const row = main.getByRole('row').filter({ hasText: 'registry.lab:5000' })
    await row.getByText('ana').waitFor()
    expect(await main.innerText()).not.toContain('a secret')
    await button('Remove registry.lab:5000', row).click()
    await button('Remove').click()
    await main.getByText('No registries').waitFor()
    expect((await lab.client().call('registries.list', {})).items).toEqual([])
  })

  it('are kept for so long as is said', async () => {
    const main = await open('/images?tab=cleanup')
    expect(await main.getByLabel('In engines, days').inputValue()).toBe('28')
    await main.getByLabel('By the cluster, days').fill('soon')
    await main.getByText('expected a number of days').waitFor()
    expect(await button('Save', main).isDisabled()).toBe(true)
    await main.getByLabel('By the cluster, days').fill('90')
    await main.getByLabel('In engines, days').fill('28')
    await button('Save', main).click()
    await expect
      .poll(() => lab.client().call('imagePolicy.get', {}), soon)
      .toEqual({ engine_unused_seconds: 28 * 86_400, cluster_unused_seconds: 90 * 86_400 })
    await button('Clean up now', main).click()
    await dialog()
      .getByText(/Nothing to remove/)
      .waitFor()
    expect(await axe()).toEqual([])
    await button('Done').click()
    await lab.client().call('imagePolicy.set', {
      body: { engine_unused_seconds: 28 * 86_400, cluster_unused_seconds: null },
    })
  })

  // Last, since a node goes for good.
  it('and a node is removed by its button', async () => {
    const main = await open('/nodes/host-3', 'host-3')
    await button('Remove', main).click()
    await button('Cancel').click()
    await button('Remove', main).click()
    expect(await axe()).toEqual([])
    await button('Remove').click()
    await page.getByRole('heading', { level: 1, name: 'Nodes' }).waitFor()
    await main.getByRole('row').filter({ hasText: 'host-3' }).waitFor({ state: 'detached' })
    const { items } = await lab.client().call('nodes.list', {})
    expect(items.map(({ name }) => name)).toEqual(['host-1', 'host-2'])
  })
})
