// Everyone can use the console: with a screen reader, with the keyboard alone, on a small screen.
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, Locator, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Lab } from '../cluster/lab.ts'
import { needs } from '../setup/needs.ts'
import { launch, notSignedIn, Visit, type VisitOptions } from './browser.ts'
import { startDemoLab } from './demo-lab.ts'
import { ExperimentPage } from './pages/experiment.ts'
import { ExperimentsPage } from './pages/experiments.ts'
import { NewExperimentPage } from './pages/new-experiment.ts'
import { Shell } from './pages/shell.ts'
import { SignInPage } from './pages/sign-in.ts'

const soon = { timeout: 30_000, interval: 50 }

/** Every page, by its heading. {ended} and {failed} stand for experiments of the lab. */
const pages: readonly [path: string, heading: string, shows: string][] = [
  ['/', 'Overview', 'host-3'],
  ['/nodes', 'Nodes', 'host-3'],
  ['/nodes/host-1', 'host-1', 'Load average'],
  ['/experiments', 'Experiments', 'gone-wrong'],
  ['/experiments/new', 'New experiment', 'Demo'],
  ['/experiments/{ended}', 'penguins', 'accuracy'],
  ['/experiments/{ended}?tab=log', 'penguins', 'epoch'],
  ['/experiments/{ended}?tab=artifacts', 'penguins', 'model.json'],
  ['/experiments/{ended}?tab=events', 'penguins', 'admin'],
  ['/experiments/{ended}?tab=spec', 'penguins', 'name: penguins'],
  ['/experiments/{failed}', 'gone-wrong', 'exit code 3'],
  ['/queue', 'Queue', 'Nothing waits'],
  ['/queue?tab=queues', 'Queue', 'Highest class'],
  ['/queue?tab=quotas', 'Queue', 'No quotas'],
  ['/queue?tab=usage', 'Queue', 'GPU-hours'],
  ['/secrets', 'Secrets', 'No secrets'],
  ['/people', 'People', 'New account'],
  ['/people?tab=teams', 'People', 'No teams'],
  ['/people?tab=tokens', 'People', 'New token'],
  ['/images', 'Images', 'No images'],
  ['/images?tab=registries', 'Images', 'No registries'],
  ['/images?tab=cleanup', 'Images', 'In engines'],
  ['/events', 'Events', 'gone-wrong'],
  ['/settings', 'Settings', 'CA fingerprint'],
  ['/about', 'About', 'fastify'],
  ['/no/such/page', 'There is no such page', ''],
]

describe('the console', needs.chromium, () => {
  let lab: Lab
  let browser: Browser
  let visit: Visit
  const ids = { ended: '', failed: '' }

  beforeAll(async () => {
    const demo = await startDemoLab({}, '0')
    lab = demo.lab
    ids.ended = (await lab.submit(demo.spec)).id
    ids.failed = (
      await lab.submit({ name: 'gone-wrong', command: 'exit 3', resources: 'cpu=0.5, memory=64Mi' })
    ).id
    expect((await lab.ended(ids.ended)).state).toBe('Succeeded')
    expect((await lab.ended(ids.failed)).state).toBe('Failed')
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    await lab?.stop()
  })
  afterEach(async () => {
    const { faults } = visit
    await visit.close()
    expect(faults).toEqual([])
  })

  async function open(options: VisitOptions = {}): Promise<Page> {
    visit = await Visit.open(browser, lab.agents[0]?.url ?? '', { reducedMotion: 'reduce', ...options })
    return visit.page
  }

  /** A page with all that it shows. */
  async function show([path, heading, text]: (typeof pages)[number]): Promise<void> {
    await visit.goto(path.replace('{ended}', ids.ended).replace('{failed}', ids.failed))
    await new Shell(visit.page).settled(heading)
    if (text) await visit.page.getByRole('main').getByText(text).first().waitFor()
  }

  for (const colorScheme of ['light', 'dark'] as const)
    it(`has no serious fault that axe knows, in ${colorScheme}`, async () => {
      const page = await open({ colorScheme })
      visit.expect(notSignedIn)
      await visit.goto('/')
      await new SignInPage(page).heading.waitFor()
      const faults = await axe(page, 'sign-in')
      await page.context().addCookies([{ name: 'submarine_session', value: lab.token, url: visit.origin }])
      for (const one of pages) {
        await show(one)
        faults.push(...(await axe(page, one[0])))
      }
      expect(faults).toEqual([])
    })

  it('fits a screen of 1024 by 768 without scrolling sideways', async () => {
    const page = await open({ viewport: { width: 1024, height: 768 }, token: lab.token })
    for (const one of pages) {
      await show(one)
      expect(await tooWide(page), one[0]).toEqual([])
    }
    // What the check finds where something is too wide.
    await page.evaluate(`document.querySelector('main').firstElementChild.style.width = '2000px'`)
    expect(await tooWide(page)).toEqual(['main'])
  })

  it('finds the packages of one licence among all that are shipped', async () => {
    const page = await open({ token: lab.token })
    await show(['/about', 'About', 'fastify'])
    const table = page.getByRole('table', { name: 'Packages' })
    const before = await table.getByRole('row').count()
    await page.getByRole('searchbox', { name: 'Look for a package' }).fill('apache-2')
    await expect.poll(() => table.getByRole('row').count(), soon).toBeLessThan(before)
    const licences = await table.locator('tbody tr td:last-child').allInnerTexts()
    expect(licences.length).toBeGreaterThan(3)
    expect(licences.filter((licence) => !licence.includes('Apache-2.0'))).toEqual([])
  })

  it('submits, reads and stops an experiment with the keyboard alone', async () => {
    const page = await open({ token: lab.token })
    await show(['/', 'Overview', 'host-3'])
    const shell = new Shell(page)
    await page.keyboard.press('Tab')
    expect(await page.locator(':focus').innerText()).toBe('Skip to the page')
    await press(
      page,
      'Enter',
      page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: /^Exp/ }),
    )
    await shell.settled('Experiments')
    await press(page, 'Enter', page.locator('main header').getByRole('link', { name: 'New experiment' }))
    await shell.settled('New experiment')

    const form = new NewExperimentPage(page)
    await write(page, form.field('Name'), 'by-keyboard')
    await write(page, form.field('Command'), 'echo typed; sleep 600')
    await write(page, form.field('CPU'), '0.5')
    await write(page, form.field('Memory'), '64Mi')
    await press(page, 'Enter', form.submitButton)
    const experiment = new ExperimentPage(page)
    await experiment.settled('by-keyboard')
    await expect.poll(() => experiment.state(), soon).toBe('Running')

    await press(page, 'ArrowRight', page.getByRole('tab', { name: 'Overview' }))
    await page.getByRole('tabpanel', { name: 'Log' }).getByText('typed').waitFor()
    await press(page, 'Enter', page.locator('main header').getByRole('button', { name: 'Stop' }), 'Shift+Tab')
    await experiment.dialog.waitFor()
    await page.keyboard.press('Escape')
    await experiment.dialog.waitFor({ state: 'hidden' })
    expect(await page.locator(':focus').innerText()).toBe('Stop')
    await page.keyboard.press('Enter')
    await press(page, 'Enter', experiment.dialog.getByRole('button', { name: 'Stop' }))
    await expect.poll(() => experiment.state(), soon).toBe('Stopped')
    expect((await lab.get(experiment.id)).spec.name).toBe('by-keyboard')
    await press(
      page,
      'Enter',
      page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: /^Exp/ }),
      'Shift+Tab',
    )
    await expect.poll(() => new ExperimentsPage(page).names(), soon).toContain('by-keyboard')
  })
})

/** Serious and critical violations on the page as it stands, with what breaks them. */
async function axe(page: Page, where: string): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze()
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${where}: ${id}: ${help}: ${nodes.map(({ html }) => html).join(' | ')}`)
}

/** What scrolls sideways, of the window and the page in it. */
function tooWide(page: Page): Promise<string[]> {
  return page.evaluate<string[]>(`['html', 'main'].filter((name) => {
    const { scrollWidth, clientWidth } = document.querySelector(name)
    return scrollWidth > clientWidth
  })`)
}

/** Go to a control as the keyboard does, and press a key there. */
async function press(page: Page, key: string, control: Locator, step = 'Tab'): Promise<void> {
  await reach(page, control, step)
  await page.keyboard.press(key)
}

async function write(page: Page, field: Locator, text: string): Promise<void> {
  await reach(page, field, 'Tab')
  await page.keyboard.press('ControlOrMeta+A')
  await page.keyboard.type(text)
}

async function reach(page: Page, control: Locator, step: string): Promise<void> {
  await control.waitFor()
  for (let steps = 0; !(await hasFocus(control)); steps++) {
    if (steps === 80) throw new Error(`80 times ${step} did not lead to ${String(control)}`)
    await page.keyboard.press(step)
  }
  // Whoever cannot see where they are cannot use the keyboard.
  expect(await control.evaluate(outline), `outline of ${String(control)}`).not.toBe('none')
}

interface Focusable {
  readonly ownerDocument: {
    readonly activeElement: unknown
    readonly defaultView: { getComputedStyle(one: unknown): { readonly outlineStyle: string } }
  }
}

const hasFocus = (control: Locator) =>
  control.evaluate((one: Focusable) => one.ownerDocument.activeElement === one)
const outline = (one: Focusable) => one.ownerDocument.defaultView.getComputedStyle(one).outlineStyle
