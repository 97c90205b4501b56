// Pictures of the console for the documentation, from a real cluster: `node cli/node24.js test/e2e/screens.ts`
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright'
import { eventually } from '../cluster/lab.ts'
import { launch, Visit } from './browser.ts'
import { startDemoLab } from './demo-lab.ts'
import { ExperimentPage } from './pages/experiment.ts'
import { NewExperimentPage } from './pages/new-experiment.ts'
import { Shell } from './pages/shell.ts'

const out = fileURLToPath(new URL('../../docs/screens', import.meta.url))
const size = { width: 1280, height: 800 }
/** Something that takes its place on a node until the cluster ends. */
const holder = (name: string, tag: string, cpu: number) => ({
  name,
  command: 'sleep 600',
  tags: [tag],
  resources: `cpu=${cpu}, memory=512Mi`,
})

const { lab, spec } = await startDemoLab({ cpu: 1, memory: 4 * 1024 ** 3 })
const browser = await launch()
try {
  await mkdir(out, { recursive: true })
  const visit = await Visit.open(browser, lab.agents[0]?.url ?? '', {
    viewport: size,
    reducedMotion: 'reduce',
    token: lab.token,
  })
  const { page } = visit

  const first = await lab.submit({ ...spec, name: 'penguins-fast', env: { EPOCH_SECONDS: '0' } })
  const wrong = await lab.submit({ ...holder('resnet-probe', 'vision', 0.5), command: 'exit 2' })
  for (const { id } of [first, wrong]) await lab.ended(id)
  await lab.submit(holder('tokenize', 'nlp', 1))
  await lab.submit(holder('evaluate', 'vision', 0.75))
  const running = await lab.submit(spec)
  await lab.submit(holder('ablation', 'vision', 1))
  await lab.until(running.id, ({ state }) => state === 'Running')

  await visit.goto('/')
  await take(page, 'overview')
  await visit.goto('/nodes')
  await take(page, 'nodes')
  await visit.goto('/experiments')
  await take(page, 'experiments')
  await visit.goto('/experiments/new')
  const form = new NewExperimentPage(page)
  await form.settled('New experiment')
  await form.fillDemo()
  await take(page, 'new-experiment')

  await visit.goto(`/experiments/${running.id}`)
  const experiment = new ExperimentPage(page)
  await experiment.settled('penguins')
  await eventually('half of the curve is there', async () => {
    const { series } = await lab.client().call('experiments.metrics', { params: { experiment: running.id } })
    return (series[0]?.points.length ?? 0) >= 30
  })
  await take(page, 'experiment')
  await experiment.tab('Log')
  await eventually('the log is read', async () => (await experiment.lines()) >= 30)
  await take(page, 'experiment-log')
  await experiment.tab('Overview')
  await page.emulateMedia({ colorScheme: 'dark' })
  await take(page, 'experiment-dark')
  if ((await experiment.state()) !== 'Running') throw new Error('it ended before its picture was taken')
  if (visit.faults.length) throw new Error(visit.faults.join('\n'))
} finally {
  await browser.close()
  await lab.stop()
}

async function take(page: Page, name: string): Promise<void> {
  await new Shell(page).settled()
  await eventually('no toast and no bar without a figure', async () => {
    const toasts = await page.locator('.toast').count()
    const pending = await page.locator('[role="meter"][aria-valuetext="not measured"]').count()
    return toasts + pending === 0
  })
  await page.mouse.move(0, 0)
  await page.screenshot({ path: path.join(out, `${name}.png`) })
}
