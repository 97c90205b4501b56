// The console in a real browser, served by real agents: what a person does with it, and what it does by itself.
import type { Browser, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Lab, password } from '../cluster/lab.ts'
import { needs } from '../setup/needs.ts'
import { launch, notSignedIn, Visit, type VisitOptions } from './browser.ts'
import { type DemoLab, startDemoLab } from './demo-lab.ts'
import { ExperimentPage } from './pages/experiment.ts'
import { ExperimentsPage } from './pages/experiments.ts'
import { NewExperimentPage } from './pages/new-experiment.ts'
import { NodesPage } from './pages/nodes.ts'
import { Shell } from './pages/shell.ts'
import { SignInPage } from './pages/sign-in.ts'

const soon = { timeout: 30_000, interval: 50 }
const later = { timeout: 90_000, interval: 100 }
const long = (name: string) => ({ name, command: 'sleep 600', resources: 'cpu=0.5, memory=64Mi' })

/** By the page itself, as whoever is signed in there. */
const submitAs = (page: Page, name: string): Promise<string> =>
  page.evaluate(
    async ([body]) => {
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: body ?? '' }
      return ((await (await fetch('/api/v2/experiments', init)).json()) as { id: string }).id
    },
    [JSON.stringify(long(name))],
  )

const statusOf = (page: Page, path: string): Promise<number> =>
  page.evaluate(async ([url]) => (await fetch(url ?? '')).status, [path])

describe('the console', needs.chromium, () => {
  let demo: DemoLab
  let lab: Lab
  let browser: Browser
  let visits: Visit[] = []

  beforeAll(async () => {
    demo = await startDemoLab()
    lab = demo.lab
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

  async function visit(options: VisitOptions = {}): Promise<Visit> {
    const opened = await Visit.open(browser, lab.agents[0]?.url ?? '', options)
    visits.push(opened)
    return opened
  }

  /** A window of somebody who is signed in, at an address of the console. */
  async function at(path: string, heading?: string): Promise<Visit> {
    const opened = await visit({ token: lab.token })
    await opened.goto(path)
    await new Shell(opened.page).settled(heading)
    return opened
  }

  it('asks who you are, says what is wrong with it, and remembers it until you sign out', async () => {
    const opened = await visit()
    const { page } = opened
    opened.expect(notSignedIn, /status of 401.*\/api\/v2\/session$/)
    await opened.goto('/experiments?state=Failed')
    const signIn = new SignInPage(page)
    await signIn.signIn('admin', 'wrong')
    await signIn.problem.waitFor()
    expect(await signIn.problem.innerText()).toMatch(/Wrong user name or password/)
    await signIn.signIn('admin', password)

    const experiments = new ExperimentsPage(page)
    await experiments.settled('Experiments')
    expect((await experiments.filters()).state).toBe('Failed')
    await page.reload()
    await experiments.settled('Experiments')
    await experiments.signOut()
    await signIn.heading.waitFor()
    await page.reload()
    await signIn.heading.waitFor()
    expect(await page.context().cookies()).toEqual([])
  })

  it('has two people choose passwords of their own, and shows neither what is the other’s until it is shared', async () => {
    const people = ['ana', 'ben'] as const
    const windows = await Promise.all(
      people.map(async (name) => {
        const { one_time_password } = await lab.client().call('users.create', { body: { name } })
        const opened = await visit()
        opened.expect(notSignedIn, /status of 40[34].*\/api\/v2\//)
        await opened.goto('/experiments')
        const signIn = new SignInPage(opened.page)
        await signIn.signIn(name, one_time_password ?? '')
        await signIn.choose(`the own password of ${name}`)
        const list = new ExperimentsPage(opened.page)
        await list.settled('Experiments')
        return { opened, list }
      }),
    )
    const [ana, ben] = windows
    if (!ana || !ben) throw new Error('expected two windows')
    const id = await submitAs(ana.opened.page, 'of-ana')
    await expect.poll(() => ana.list.names(), soon).toEqual(['of-ana'])
    for (const path of ['', '/logs', '/metrics', '/artifacts', '/events', '/explanation'])
      expect(await statusOf(ben.opened.page, `/api/v2/experiments/${id}${path}`), path).toBe(404)
    expect(await ben.list.names()).toEqual([])
    const share = (visibility: 'everyone' | 'private') =>
      lab.client().call('experiments.share', { params: { experiment: id }, body: { visibility } })
    await share('everyone')
    await expect.poll(() => ben.list.names(), soon).toEqual(['of-ana'])
    await share('private')
    await expect.poll(() => ben.list.names(), soon).toEqual([])
    await lab.client().call('experiments.stop', { params: { experiment: id } })
    await lab.ended(id)
    await lab.client().call('experiments.delete', { params: { experiment: id } })
  })

  it('shows three nodes at work, live', async () => {
    const { page } = await at('/')
    const nodes = new NodesPage(page)
    await nodes.go('Nodes')
    await nodes.settled('Nodes')
    expect(await nodes.states()).toEqual({ 'host-1': 'Ready', 'host-2': 'Ready', 'host-3': 'Ready' })
    expect(await nodes.foot.innerText()).toContain('3 of 3 nodes ready')
    for (const name of ['host-1', 'host-2', 'host-3']) {
      await expect
        .poll(() => nodes.bars(name), soon)
        .toMatchObject({
          texts: Array(3).fill(expect.stringMatching(/^\d+%$/)),
        })
      const { widths } = await nodes.bars(name)
      expect(widths).toHaveLength(3)
      await expect.poll(async () => (await nodes.bars(name)).widths, soon).not.toEqual(widths)
    }
  })

  it('runs the demo from the form to its files', async () => {
    const { page } = await at('/experiments', 'Experiments')
    await page.locator('main header').getByRole('link', { name: 'New experiment' }).click()
    const form = new NewExperimentPage(page)
    await form.fillDemo()
    await expect.poll(() => form.field('Name').inputValue(), soon).toBe('penguins')
    expect(await form.field('Command').inputValue()).toMatch(/train\.(py|mjs)/)
    expect(await form.field('CPU').inputValue()).toBe('0.5')
    await form.submit()
    const experiment = new ExperimentPage(page)
    await experiment.settled('penguins')
    expect(await experiment.toasts.innerText()).toContain('Submitted penguins')

    await experiment.tab('Log')
    await expect.poll(() => experiment.lines(), soon).toBeGreaterThan(2)
    const lines = await experiment.lines()
    await expect.poll(() => experiment.lines(), soon).toBeGreaterThan(lines)
    expect(await experiment.state()).toBe('Running')

    await experiment.tab('Overview')
    await expect.poll(() => experiment.charts.count(), soon).toBe(2)
    const before = await experiment.chart('loss')
    await expect.poll(async () => (await experiment.chart('loss')).last, soon).toBeLessThan(before.last)
    expect((await experiment.chart('loss')).drawn).not.toBe(before.drawn)
    expect(await experiment.state()).toBe('Running')

    await expect.poll(() => experiment.state(), later).toBe('Succeeded')
    await expect.poll(async () => (await experiment.chart('accuracy')).last, soon).toBeGreaterThan(0.9)

    const artifacts = await experiment.tab('Artifacts')
    await artifacts.getByRole('link', { name: 'model.json', exact: true }).waitFor()
    await expect.poll(async () => (await experiment.artifact('model.json')).copies, soon).toBe('2 copies')
    const { sha256 } = await experiment.artifact('model.json')
    const kept = await experiment.download('model.json')
    expect(kept.name).toBe('model.json')
    expect(kept.sha256).toBe(sha256)
    expect(JSON.parse(kept.bytes.toString())).toBeTypeOf('object')

    const events = await experiment.tab('Events')
    await expect.poll(() => events.innerText(), soon).toMatch(/running/i)
    expect(await events.getByRole('listitem').count()).toBeGreaterThan(2)
    const spec = await experiment.tab('Spec')
    expect(await spec.innerText()).toContain('name: penguins')
  })

  it('stops, clones and deletes by its buttons', async () => {
    const { id } = await lab.submit(long('sleeper'))
    const { page } = await at(`/experiments/${id}`, 'sleeper')
    const experiment = new ExperimentPage(page)
    await expect.poll(() => experiment.state(), soon).toBe('Running')
    await experiment.stop()
    await expect.poll(() => experiment.state(), later).toBe('Stopped')

    await experiment.clone()
    const form = new NewExperimentPage(page)
    await expect.poll(() => form.field('Name').inputValue(), soon).toBe('sleeper')
    expect(await form.field('Command').inputValue()).toBe('sleep 600')
    expect(await form.field('Memory').inputValue()).toBe('64Mi')
    await form.fill({ Name: 'sleeper-2', Command: 'echo cloned' })
    await form.submit()
    await experiment.settled('sleeper-2')
    const copy = experiment.id
    expect(copy).not.toBe(id)
    await expect.poll(() => experiment.state(), later).toBe('Succeeded')

    await experiment.delete()
    await experiment.settled('Experiments')
    await expect.poll(() => new ExperimentsPage(page).names(), soon).not.toContain('sleeper-2')
    await expect(lab.get(copy)).rejects.toMatchObject({ code: 'not_found' })
    expect((await lab.get(id)).state).toBe('Stopped')
  })

  it('describes and tags an experiment, and deletes several from the list', async () => {
    const ids: string[] = []
    for (const name of ['note-1', 'note-2']) {
      const { id } = await lab.submit({ ...long(name), command: 'true', tags: ['from-spec'] })
      await lab.ended(id)
      ids.push(id)
    }
    const [first = ''] = ids
    const { page } = await at(`/experiments/${first}`, 'note-1')
    const main = page.getByRole('main')
    const dialog = page.getByRole('dialog')
    const edit = main.getByRole('button', { name: 'Edit description and tags' })
    await edit.click()
    await dialog.getByLabel('Description').fill('The one with\nmore data')
    await dialog.getByLabel('Tags').fill('lr')
    await dialog.getByText(/expected KEY=VALUE/).waitFor()
    await dialog.getByLabel('Tags').fill('lr=1e-3\nbest=no')
    // What others say of it meanwhile stays.
    await lab
      .client()
      .call('experiments.edit', { params: { experiment: first }, body: { tags: { by: 'ana' } } })
    await dialog.getByRole('button', { name: 'Save' }).click()
    await main.getByText('lr=1e-3').waitFor()
    await main.getByText('by=ana').waitFor()
    await main.getByText(/The one with\s+more data/).waitFor()
    await edit.click()
    await dialog.getByLabel('Tags').fill('by=ana\nbest=yes')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await main.getByText('best=yes').waitFor()
    expect(await lab.get(first)).toMatchObject({
      description: 'The one with\nmore data',
      tags: { by: 'ana', best: 'yes' },
      spec: { tags: ['from-spec'] },
    })

    const list = new ExperimentsPage(page)
    await list.go('Experiments')
    for (const name of ['note-1', 'note-2'])
      await main.getByRole('checkbox', { name: `Select ${name}` }).check()
    await main.getByRole('button', { name: 'Delete 2' }).click()
    await dialog.getByText(/cannot be brought back/).waitFor()
    await dialog.getByRole('button', { name: 'Delete' }).click()
    await expect
      .poll(async () => (await list.names()).filter((name) => name.startsWith('note-')), soon)
      .toEqual([])
    for (const id of ids) await expect(lab.get(id)).rejects.toMatchObject({ code: 'not_found' })
  })

  it('says at the field what is wrong there, also what only the cluster can know', async () => {
    const opened = await at('/experiments/new', 'New experiment')
    const { page } = opened
    const form = new NewExperimentPage(page)
    await form.fill({ Name: 'a b', CPU: '-1', Command: 'true' })
    await form.submitButton.click()
    await expect.poll(() => form.errorAt('Name'), soon).toMatch(/letters, digits/)
    expect(await form.errorAt('CPU')).toMatch(/cores such as 4, 0\.5 or 500m/)
    expect(await form.errorAt('Command')).toBeUndefined()
    // What was typed is still there, and the first of the wrong fields has the focus.
    expect(await form.field('Name').inputValue()).toBe('a b')
    expect(await page.locator(':focus').inputValue()).toBe('a b')

    opened.expect(/status of 422.*\/api\/v2\/experiments$/)
    await form.fill({ Name: 'greedy', CPU: '64' })
    await form.submitButton.click()
    await expect
      .poll(() => form.main.getByRole('alert').allInnerTexts(), soon)
      .toMatchObject([expect.stringMatching(/never_fits/)])
    expect(page.url()).toMatch(/\/experiments\/new$/)
  })

  it('keeps filters when one goes back and forward', async () => {
    const ended = await lab.submit({ ...long('gone-well'), command: 'true' })
    const failed = await lab.submit({ ...long('gone-wrong'), command: 'exit 3' })
    await lab.ended(ended.id)
    await lab.ended(failed.id)
    const { page } = await at('/experiments', 'Experiments')
    const list = new ExperimentsPage(page)
    await list.filter('Failed')
    await list.search('gone')
    await expect.poll(() => list.names(), soon).toEqual(['gone-wrong'])
    await list.open('gone-wrong')
    await page.goBack()
    await list.settled('Experiments')
    expect(await list.filters()).toEqual({ state: 'Failed', text: 'gone' })
    expect(await list.names()).toEqual(['gone-wrong'])
    await page.goForward()
    await new ExperimentPage(page).settled('gone-wrong')
    expect(await page.locator('main').innerText()).toContain('exit code 3')
    await page.goBack()
    await list.settled('Experiments')
    expect(await list.filters()).toEqual({ state: 'Failed', text: 'gone' })
  })

  it('notices in these tests what breaks its policy or goes elsewhere', async () => {
    const opened = await at('/')
    await opened.page.evaluate(
      `document.body.append(Object.assign(new Image(), { src: 'http://elsewhere.example/pixel.png' }))`,
    )
    await expect.poll(() => opened.faults.join('\n'), soon).toMatch(/policy violated: img-src/)
    await opened.page.goto(`${lab.agents[1]?.url}/icon.svg`)
    expect(opened.faults.join('\n')).toContain(`request to elsewhere: ${lab.agents[1]?.url}/icon.svg`)
    await opened.page.evaluate(`setTimeout(() => { throw new Error('on purpose') })`)
    await expect.poll(() => opened.faults.join('\n'), soon).toMatch(/uncaught: Error: on purpose/)
    opened.expect(/./)
  })

  // Last, since it ends the agents.
  it('takes a node out of service and back, and says so to everybody', async () => {
    const { page } = await at('/nodes/host-3', 'host-3')
    const button = (name: string) => page.getByRole('main').getByRole('button', { name, exact: true })
    await button('Cordon').click()
    await page.getByText(/Takes nothing new since .*cordoned by admin/).waitFor()
    await button('Uncordon').click()
    await button('Cordon').waitFor()

    await button('Drain').click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Deadline').fill('soon')
    await dialog.getByText(/expected a duration/).waitFor()
    expect(await dialog.getByRole('button', { name: 'Drain' }).isDisabled()).toBe(true)
    await dialog.getByLabel('Deadline').fill('2h')
    await dialog.getByLabel('Reason').fill('new fans')
    await dialog.getByRole('button', { name: 'Drain' }).click()
    await page.getByText(/Drained by admin since .*new fans/).waitFor()
    await new NodesPage(page).go('Nodes')
    await page.getByRole('main').getByText('draining').waitFor()
    expect((await lab.client().call('nodes.get', { params: { node: 'host-3' } })).cordon).toMatchObject({
      by: 'admin',
      reason: 'new fans',
    })
    await lab.client().call('nodes.uncordon', { params: { node: 'host-3' } })
    await page.getByRole('main').getByText('draining').waitFor({ state: 'detached' })
  })

  it('shows what waits and why, and sets queues, quotas and reservations', async () => {
    const { id } = await lab.submit({
      ...long('needs-all'),
      resources: 'cpu=1, memory=64Mi',
      queue: 'default',
    })
    const { page } = await at('/queue', 'Queue')
    const main = page.getByRole('main')
    const tab = (name: string) => main.getByRole('tab', { name }).click()
    const api = lab.client()
    await api.call('experiments.stop', { params: { experiment: id } })

    await tab('Queues')
    await main.getByRole('button', { name: 'Close', exact: true }).click()
    await main.getByText('closed', { exact: true }).waitFor()
    const waits = lab.submit(long('too-late'))
    await expect(waits).rejects.toMatchObject({
      errors: [{ pointer: '/queue', message: expect.stringContaining('default') as string }],
    })
    await main.getByRole('button', { name: 'Open', exact: true }).click()
    await main.getByText('closed', { exact: true }).waitFor({ state: 'detached' })

    await tab('Quotas')
    await main.getByRole('button', { name: 'New quota' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Of whom').fill('user:admin')
    await dialog.getByLabel('Workloads at once').fill('1')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await main.getByText('user admin').waitFor()
    const first = await lab.submit(long('within-quota'))
    const held = await lab.submit(long('over-quota'))
    await tab('Waiting')
    const row = main.getByRole('row').filter({ hasText: 'over-quota' })
    await row.waitFor()
    await expect.poll(() => row.innerText(), soon).toMatch(/quota/i)
    await row.getByRole('link').click()
    const reasons = main.locator('section, div').filter({ hasText: 'Why it waits' }).last()
    await reasons
      .getByText(/quota of user admin/)
      .first()
      .waitFor()
    await main.getByText(/It is number 1 in the order/).waitFor()
    await page.goBack()
    await tab('Quotas')
    await main.getByRole('button', { name: 'Remove' }).click()
    await main.getByText('No quotas').waitFor()
    await lab.until(held.id, ({ state }) => state === 'Running')
    for (const one of [first, held]) await api.call('experiments.stop', { params: { experiment: one.id } })

    await tab('Reservations')
    await main.getByRole('button', { name: 'New reservation' }).click()
    await dialog.getByLabel('Name').fill('course')
    await dialog.getByLabel('For').fill('team:vision')
    await dialog.getByLabel('Nodes').selectOption({ label: 'host-3' })
    await dialog.getByLabel('From').fill('2090-01-01T08:00')
    await dialog.getByLabel('To').fill('2090-01-02T08:00')
    await dialog.getByRole('button', { name: 'Reserve' }).click()
    await main.getByRole('row').filter({ hasText: 'course' }).getByText('host-3').waitFor()
    await main.getByRole('button', { name: 'Take back' }).click()
    await main.getByText('Nothing is reserved').waitFor()

    await tab('Usage and waste')
    await main.getByRole('row').filter({ hasText: 'admin' }).waitFor()
  })

  it('tells when a node falls silent, when nobody leads, and when all is well again', async () => {
    const [, second, third] = lab.agents
    const opened = await at('/nodes', 'Nodes')
    const nodes = new NodesPage(opened.page)
    await second?.kill()
    await expect.poll(async () => (await nodes.states())['host-2'], soon).toBe('Not answering')
    await expect.poll(async () => (await nodes.states())['host-2'], soon).toBe('Unreachable')
    expect(await nodes.states()).toMatchObject({ 'host-1': 'Ready', 'host-3': 'Ready' })
    expect((await nodes.bars('host-2')).widths).toEqual([])
    expect(await nodes.banner.count()).toBe(0)

    // Without a leader, strong reads are answered 503 and done again from the agent's own copy.
    opened.expect(/status of 503.*\/api\/v2\//)
    await third?.kill()
    await nodes.banner.waitFor()
    expect(await nodes.banner.innerText()).toMatch(/no leader.*may be old: as of \d+s ago/is)
    await expect.poll(() => nodes.foot.innerText(), soon).toContain('may be old')
    await nodes.go('Experiments')
    await expect.poll(() => new ExperimentsPage(opened.page).names(), soon).toContain('sleeper')

    await Promise.all([second?.start([], demo.env), third?.start([], demo.env)])
    await nodes.banner.waitFor({ state: 'detached' })
    await nodes.go('Nodes')
    await expect
      .poll(() => nodes.states(), later)
      .toEqual({
        'host-1': 'Ready',
        'host-2': 'Ready',
        'host-3': 'Ready',
      })
    await expect.poll(() => nodes.foot.innerText(), soon).not.toContain('may be old')
  })
})
