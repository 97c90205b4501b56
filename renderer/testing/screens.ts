/**
 * Pictures of every page against the agent double: `node renderer/testing/screens.ts OUTDIR [page,…]`, VIEWS=light-1280,… . Counts content
 * security policy violations, requests to other origins, page errors and (with AXE=1) accessibility violations on the way.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { chromium, type Page } from 'playwright'

const [out = 'screens', only = ''] = process.argv.slice(2)
const port = 7999
const origin = `http://127.0.0.1:${port}`
const pages: Record<string, string> = {
  overview: '/',
  experiments: '/experiments',
  running: '/experiments/exp-live',
  failed: '/experiments/exp-16' + (1490).toString(36) + 'q',
  log: '/experiments/exp-live?tab=log',
  artifacts: '/experiments/exp-11' + (720).toString(36) + 'q?tab=artifacts',
  events: '/experiments/exp-live?tab=events',
  spec: '/experiments/exp-live?tab=spec',
  new: '/experiments/new',
  nodes: '/nodes',
  node: '/nodes/gpu-01',
  secrets: '/secrets',
  people: '/people',
  teams: '/people?tab=teams',
  tokens: '/people?tab=tokens',
  images: '/images',
  registries: '/images?tab=registries',
  cleanup: '/images?tab=cleanup',
  allevents: '/events',
  settings: '/settings',
  about: '/about',
}
const faults: string[] = []

function watch(page: Page): void {
  page.on('console', (message) => message.type() === 'error' && faults.push(`console: ${message.text()}`))
  page.on('pageerror', (error) => faults.push(`page error: ${error.stack ?? error.message}`))
  page.on(
    'request',
    (request) =>
      /^(data|blob):/.test(request.url()) ||
      request.url().startsWith(origin) ||
      faults.push(`outside: ${request.url()}`),
  )
}

await mkdir(out, { recursive: true })
const double = spawn(process.execPath, [path.join(import.meta.dirname, 'agent-double.ts'), String(port)], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
await once(double.stdout, 'data')
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
})
try {
  for (const view of (process.env['VIEWS'] ?? 'light-1280,dark-1280,light-1024,dark-640').split(',')) {
    const [theme, width] = [view.split('-')[0] as 'light' | 'dark', Number(view.split('-')[1])]
    const height = width > 1100 ? 800 : 768
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme })
    const page = await context.newPage()
    watch(page)
    const name = (what: string) => path.join(out, `${what}-${theme}-${width}.png`)
    await page.goto(origin)
    await page.getByLabel('User name').fill('admin')
    if (!only || only === 'signin') await page.screenshot({ path: name('signin') })
    await page.getByLabel('Password').fill('submarine')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor()
    for (const [what, where] of Object.entries(pages)) {
      if (only && !only.split(',').includes(what)) continue
      await page.goto(origin + where)
      await page.waitForTimeout(1500)
      if (what === 'new') await page.getByRole('button', { name: 'Demo' }).click()
      await page.screenshot({ path: name(what) })
      if (process.env['AXE']) {
        const { violations } = await new AxeBuilder({ page }).analyze()
        for (const { id, help, nodes } of violations)
          faults.push(
            `axe ${what} ${theme}: ${id}: ${help}: ${nodes
              .map((n) => n.html.slice(0, 160))
              .slice(0, 3)
              .join(' | ')}`,
          )
      }
    }
    await context.close()
  }
} finally {
  await browser.close()
  double.kill()
}
console.log(faults.length ? [...new Set(faults)].join('\n') : 'no faults')
process.exitCode = faults.length ? 1 : 0
