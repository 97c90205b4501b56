// People, teams and tokens in the console, by those who may change them and those who may not.
import type { Browser, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Lab } from '../cluster/lab.ts'
import { client, startIssuer } from '../setup/issuer.ts'
import { needs } from '../setup/needs.ts'
import { launch, notSignedIn, Visit } from './browser.ts'
import { Shell } from './pages/shell.ts'
import { SignInPage } from './pages/sign-in.ts'

describe('people in the console', needs.chromium, () => {
  let lab: Lab
  let browser: Browser
  let visits: Visit[] = []

  beforeAll(async () => {
    lab = await Lab.start({ agents: 1 })
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    await lab?.stop()
  })
  afterEach(async () => {
    const faults = visits.flatMap((visit) => visit.faults)
    await Promise.all(visits.map((visit) => visit.close()))
    visits = []
    expect(faults).toEqual([])
  })

  async function at(path: string, token?: string): Promise<Page> {
    const opened = await Visit.open(browser, lab.agents[0]?.url ?? '', token === undefined ? {} : { token })
    visits.push(opened)
    // Whoever is disabled is signed out in the midst of watching.
    if (token === undefined) opened.expect(notSignedIn, /status of 401.*\/watch/)
    await opened.goto(path)
    if (token !== undefined) await new Shell(opened.page).settled('People')
    return opened.page
  }
  const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click()
  const row = (page: Page, text: string) => page.getByRole('row').filter({ hasText: text })

  it('get an account with a one-time password, are edited, disabled, enabled and deleted', async () => {
    const page = await at('/people', lab.token)
    await press(page, 'New account')
    await page.getByLabel('User name').fill('ana')
    await page.getByLabel('Display name').fill('Ana Li')
    await press(page, 'Create')
    const shown = page.getByRole('dialog', { name: 'Password of ana' })
    const password = ((await shown.locator('.secret').innerText()).trim().split(/\s/)[0] ?? '').trim()
    expect(password.length).toBeGreaterThan(9)
    await press(page, 'Done')
    await row(page, 'Ana Li').getByText('one-time password').waitFor()

    const hers = await at('/people')
    const signIn = new SignInPage(hers)
    await signIn.signIn('ana', password)
    await signIn.choose('a password of her own')
    await new Shell(hers).settled('People')
    expect(await hers.getByRole('button', { name: /Edit|New account|Delete/ }).count()).toBe(0)

    await page.reload()
    await row(page, 'ana').getByText('active').waitFor()
    await press(page, 'Edit ana')
    await page.getByLabel('Rank').selectOption('viewer')
    await press(page, 'Save')
    await row(page, 'ana').getByText('viewer').waitFor()
    await press(page, 'Disable ana')
    await press(page, 'Disable')
    await row(page, 'ana').getByText('disabled').waitFor()
    await press(page, 'Enable ana')
    await row(page, 'ana').getByText('active').waitFor()
    await press(page, 'Delete ana')
    await press(page, 'Delete')
    await row(page, 'Ana Li').waitFor({ state: 'detached' })
    // Nobody takes the ground from under their own feet.
    expect(await page.getByRole('button', { name: 'Delete admin' }).count()).toBe(0)
  })

  it('come into teams, with a rank there, and leave them', async () => {
    await lab.client().call('users.create', { body: { name: 'mia' } })
    const page = await at('/people?tab=teams', lab.token)
    await page.getByText('No teams').waitFor()
    await press(page, 'New team')
    await page.getByLabel('Name').fill('bio')
    await page.getByLabel('What it is for').fill('Biologists')
    await press(page, 'Create')
    await row(page, 'bio').getByText('nobody').waitFor()
    await press(page, 'Edit bio')
    await page.getByLabel('Add a member').fill('mia')
    await press(page, 'Add')
    await page.getByLabel('Rank of mia').selectOption('admin')
    await press(page, 'Close')
    await row(page, 'bio').getByText('mia (admin)').waitFor()
    await press(page, 'Edit bio')
    await press(page, 'Take mia out')
    await page.getByLabel('Rank of mia').waitFor({ state: 'detached' })
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await page.getByText('No teams').waitFor()
  })

  it('come by a provider’s own pages, and are told there why they may not', async () => {
    const url = lab.agents[0]?.url ?? ''
    const issuer = await startIssuer({
      people: { dana: { preferred_username: 'dana' }, admin: { preferred_username: 'admin' } },
      redirectUris: [`${url}/api/v2/sign-in/campus/callback`],
      afterSignOut: [`${url}/`],
    })
    try {
      const settings = { kind: 'oidc', issuer: issuer.url, client_id: client.id, title: 'Campus' } as const
      const body = { settings, secret: client.secret }
      await lab.client().call('identityProviders.put', { params: { provider: 'campus' }, body })
      const submit = (page: Page) => page.locator('button[type="submit"]').click()
      const by = async (login: string, page: Page) => {
        await page.getByRole('link', { name: 'Sign in with Campus' }).click()
        await page.locator('input[name="login"]').fill(login)
        await page.locator('input[name="password"]').fill('any')
        await submit(page)
        await submit(page)
        await page.waitForURL(`${url}/**`)
      }
      const anew = async (login: string) => {
        const context = await browser.newContext()
        const page = await context.newPage()
        await page.goto(url)
        await by(login, page)
        return { page, context }
      }
      const dana = await anew('dana')
      await dana.page.getByText('dana', { exact: true }).first().waitFor()
      // Out here and there: whoever is at this screen next is asked again who they are.
      await press(dana.page, 'Sign out')
      await press(dana.page, 'Yes, sign me out')
      await dana.page.waitForURL(`${url}/**`)
      // Its keys are others by then, which nobody notices.
      issuer.rotate()
      await by('dana', dana.page)
      await dana.page.getByText('dana', { exact: true }).first().waitFor()
      await dana.context.close()
      // The account of that name has a password that is kept here.
      const eve = await anew('admin')
      await eve.page
        .getByRole('alert')
        .getByText(/the name admin is/)
        .waitFor()
      await eve.context.close()
    } finally {
      await lab.client().call('identityProviders.delete', { params: { provider: 'campus' } })
      await issuer.stop()
    }
  })

  it('make tokens for programs, and end them', async () => {
    const page = await at('/people?tab=tokens', lab.token)
    await press(page, 'New token')
    await page.getByLabel('What for').fill('dashboard')
    await page.getByLabel('May do').fill('node:read')
    await press(page, 'Make it')
    const token = (await page.getByRole('dialog').locator('.secret').innerText()).trim().split(/\s/)[0] ?? ''
    const asked = async (path: string) =>
      (await fetch(`${lab.agents[0]?.url}/api/v2${path}`, { headers: { authorization: `Bearer ${token}` } })).status
    expect([await asked('/nodes'), await asked('/experiments')]).toEqual([200, 403])
    await press(page, 'Done')
    await row(page, 'dashboard').getByRole('button').click()
    await press(page, 'End')
    await row(page, 'dashboard').waitFor({ state: 'detached' })
    expect(await asked('/nodes')).toBe(401)
  }) // prettier-ignore

  it('keep secrets that nobody reads back, replace them, share them and delete them', async () => {
    await lab.client().call('users.create', { body: { name: 'noa' } })
    visits.push(await Visit.open(browser, lab.agents[0]?.url ?? '', { token: lab.token }))
    const { page } = visits[0] as Visit
    await visits[0]?.goto('/secrets')
    await page.getByText('No secrets').waitFor()
    await press(page, 'New secret')
    await page.getByLabel('Name').fill('bucket')
    await page.getByLabel('What it is for').selectOption('s3')
    await page.getByLabel('Secret', { exact: true }).fill('under the doormat')
    await press(page, 'Keep')
    await row(page, 'admin/bucket').getByText('nobody else').waitFor()
    const kept = async () => lab.client().call('secrets.get', { params: { secret: 'bucket' }, query: {} })
    expect(await kept()).toMatchObject({ kind: 's3', version: 1, bytes: 17 })
    expect(await page.content()).not.toContain('under the doormat')

    await press(page, 'Replace admin/bucket')
    await page
      .getByLabel('Or a file')
      .setInputFiles({ name: 'key', mimeType: '', buffer: Buffer.alloc(300, 0xff) })
    await page.getByRole('dialog').getByRole('button', { name: 'Replace' }).click()
    await expect.poll(kept, { timeout: 20_000 }).toMatchObject({ kind: 's3', version: 2, bytes: 300 })

    // Nobody of that name is there.
    visits[0]?.expect(/status of 400.*sharing/)
    await press(page, 'Share admin/bucket')
    const dialog = page.getByRole('dialog', { name: 'Share admin/bucket' })
    await dialog.getByRole('textbox', { name: 'Name' }).fill('nobody-there')
    await dialog.getByRole('button', { name: 'Share', exact: true }).click()
    await dialog.getByRole('alert').getByText('nobody-there').waitFor()
    await dialog.getByRole('button', { name: /nobody-there no longer/ }).click()
    await dialog.getByRole('textbox', { name: 'Name' }).fill('noa')
    await dialog.getByRole('button', { name: 'Share', exact: true }).click()
    await row(page, 'admin/bucket').getByText('noa').waitFor()
    expect((await kept()).sharing.shares).toEqual([{ with: 'user:noa', level: 'run' }])

    await press(page, 'Delete admin/bucket')
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await page.getByText('No secrets').waitFor()
  })

  it('share an experiment with who is to see it', async () => {
    await lab.client().call('users.create', { body: { name: 'kim' } })
    const { id } = await lab.submit({
      name: 'shared',
      command: 'sleep 600',
      resources: 'cpu=0.1, memory=64Mi',
    })
    visits.push(await Visit.open(browser, lab.agents[0]?.url ?? '', { token: lab.token }))
    const { page } = visits[0] as Visit
    await visits[0]?.goto(`/experiments/${id}`)
    await press(page, 'Share')
    const dialog = page.getByRole('dialog', { name: 'Share shared' })
    await dialog.getByLabel('Besides its owner').selectOption('everyone')
    await dialog.getByRole('textbox', { name: 'Name' }).fill('kim')
    await dialog.getByLabel('What they may do').selectOption('write')
    await dialog.getByRole('button', { name: 'Share', exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
    const { sharing } = await lab.client().call('experiments.get', { params: { experiment: id }, query: {} })
    expect(sharing).toEqual({ visibility: 'everyone', shares: [{ with: 'user:kim', level: 'write' }] })
    await lab.client().call('experiments.stop', { params: { experiment: id } })
  })
})
