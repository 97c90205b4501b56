// Chromium for tests of the console, and visits that note what a good page never does.
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium as engine,
  type Page,
} from 'playwright'
import { chromium } from '../setup/needs.ts'
import type { Agent } from '../cluster/lab.ts'

const patience = 20_000

/** Debian's Chromium without a window. `env` is all of its environment. */
export function launch(env: NodeJS.ProcessEnv = process.env): Promise<Browser> {
  return engine.launch({
    executablePath: chromium(),
    headless: true,
    env,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ], // prettier-ignore
  })
}

export interface VisitOptions extends BrowserContextOptions {
  /** Signed in with this token from the start. */
  readonly token?: string
}

/** One person's window on the console that an agent serves. */
export class Visit {
  readonly page: Page
  readonly origin: string
  readonly #context: BrowserContext
  readonly #faults: string[] = []
  #expected: readonly RegExp[] = []

  private constructor(context: BrowserContext, page: Page, origin: string) {
    this.#context = context
    this.page = page
    this.origin = origin
  }

  static async open(browser: Browser, agent: Agent | string, options: VisitOptions = {}): Promise<Visit> {
    const origin = typeof agent === 'string' ? agent : agent.url
    const { token, ...rest } = options
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...rest })
    context.setDefaultTimeout(patience)
    if (token) await context.addCookies([{ name: 'submarine_session', value: token, url: origin }])
    await context.addInitScript(reportViolations)
    const visit = new Visit(context, await context.newPage(), origin)
    visit.#watch()
    return visit
  }

  /** Console errors, uncaught errors, violations of the content security policy, requests to elsewhere. */
  get faults(): readonly string[] {
    return this.#faults.filter((fault) => !this.#expected.some((one) => one.test(fault)))
  }

  /**
   * What the browser logs in this visit although nothing is wrong: it reports every answer of 400 and above, and a
   * page that asks whether someone is signed in gets one.
   */
  expect(...faults: RegExp[]): void {
    this.#expected = [...this.#expected, ...faults]
  }

  async goto(path: string): Promise<void> {
    await this.page.goto(this.origin + path)
  }

  close(): Promise<void> {
    return this.#context.close()
  }

  #watch(): void {
    this.#context.on('console', (message) => {
      if (message.type() === 'error')
        this.#faults.push(`console: ${message.text()} ${message.location().url}`)
    })
    this.#context.on('weberror', (error) => this.#faults.push(`uncaught: ${String(error.error())}`))
    this.#context.on('request', (request) => {
      const url = new URL(request.url())
      // Data and blobs are in the page; they go nowhere.
      if (url.origin !== this.origin && !['data:', 'blob:', 'about:'].includes(url.protocol))
        this.#faults.push(`request to elsewhere: ${request.url()}`)
    })
  }
}

const reportViolations = `addEventListener('securitypolicyviolation', (event) =>
  console.error('policy violated: ' + event.violatedDirective + ' ' + event.blockedURI))`

/** Answers 401 to the page's question whether someone is signed in. */
export const notSignedIn = /status of 401.*\/api\/v2\/me$/
