import { misused, readArguments } from '../setup/arguments.ts'
import { loadCore, type Edit } from './load.ts'
import { profiles } from './profiles.ts'
import { Search, type Report } from './search.ts'

const usage = `Usage: npm run model -- [--states N] [--profile NAME] [--json]
Searches all states of three members of the real core, within the bounds of each profile, until N distinct states
are found altogether (default 3,000,000; about 100 MB per million). Profiles: ${Object.keys(profiles).join(', ')}.`

const { values } = readArguments(usage, {
  states: { type: 'string', default: '3000000' },
  profile: { type: 'string' },
  json: { type: 'boolean', default: false },
  /** For the tests: lines of the core to replace, as JSON. */
  edits: { type: 'string', default: '[]' },
})

function say(text: string): void {
  if (!values.json) console.log(text)
}

function summary(name: string, r: Report, seconds: number): string {
  const seen = `${r.states.toLocaleString('en')} distinct states, ${r.steps.toLocaleString('en')} steps, depth ${r.depth}`
  const reached = `terms led ${r.terms.join(' ') || 'none'}, most entries committed ${r.committed}`
  const rate = `${Math.round(r.states / seconds).toLocaleString('en')} states/s`
  return `${name}: ${seen}, ${reached}, ${rate}${r.complete ? ' (all within the bounds)' : ''}`
}

async function main(): Promise<number> {
  const wanted = Number(values.states)
  if (!Number.isSafeInteger(wanted) || wanted < 1)
    return misused(`--states is a positive whole number, not ${values.states}.`, usage)
  const names = values.profile === undefined ? Object.keys(profiles) : [values.profile]
  const core = await loadCore(JSON.parse(values.edits) as Edit[])
  const reports: Record<string, Report> = {}
  let left = wanted
  for (const [i, name] of names.entries()) {
    const bounds = profiles[name]
    if (!bounds) return misused(`There is no profile "${name}".`, usage)
    const begin = performance.now()
    const report = new Search(core, { ...bounds, states: Math.ceil(left / (names.length - i)) }).run()
    left -= report.states
    reports[name] = report
    say(summary(name, report, (performance.now() - begin) / 1000))
    if (!report.violation) continue
    say(`VIOLATION: ${report.violation.what}\n  ${report.violation.path.join('\n  ')}`)
    break
  }
  const states = Object.values(reports).reduce((sum, r) => sum + r.states, 0)
  const failed = Object.values(reports).some((r) => r.violation)
  say(
    `${states.toLocaleString('en')} distinct states in all, ${failed ? 'an invariant is violated' : 'no violation'}`,
  )
  if (values.json) console.log(JSON.stringify({ states, reports }))
  return failed ? 1 : 0
}

process.exitCode = await main()
