import { copyFile, mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ChaosReport } from './chaos.ts'
import type { Fleet } from './fleet.ts'

/** Keeps what is needed to look into it: what clients saw, what the agents logged, what was wrong. Answers where. */
export async function keep(fleet: Fleet, report: ChaosReport, into?: string): Promise<string> {
  const folder = into ?? (await mkdtemp(join(tmpdir(), 'submarine-chaos-kept-')))
  await mkdir(folder, { recursive: true })
  const history = report.history.map((operation) => `${JSON.stringify(operation)}\n`).join('')
  await writeFile(join(folder, 'history.jsonl'), history)
  await writeFile(join(folder, 'report.txt'), describeReport(report))
  for (const { name, logFile } of fleet.agents) await copyFile(logFile, join(folder, `${name}.log`))
  return folder
}

/** What happened, for people. */
export function describeReport(report: ChaosReport): string {
  const { faults, tally, acknowledged, wrong, verdict } = report
  const total = [...faults.values()].reduce((sum, count) => sum + count, 0)
  const rows = (map: Iterable<readonly [string, unknown]>) =>
    [...map].map(([name, value]) => `  ${String(value).padStart(8)}  ${name}`)
  const ends = [...tally.kinds].map(
    ([kind, { ok, failed, unknown }]) =>
      `  ${kind.padEnd(22)}${`${ok}`.padStart(8)} ok ${`${failed}`.padStart(7)} failed ${`${unknown}`.padStart(6)} unknown`,
  )
  const reasons = [...tally.reasons].toSorted(([, a], [, b]) => b - a).slice(0, 12)
  return [
    `${total} faults in ${report.seconds.toFixed(0)} s`,
    ...rows([...faults].toSorted()),
    'operations',
    ...ends,
    ...(reasons.length ? ['why not'] : []),
    ...rows(reasons),
    `elections ${report.elections}, agent starts ${report.starts}`,
    `acknowledged: ${acknowledged.edits} edits, ${acknowledged.submissions} submissions`,
    `history of ${report.operations} operations`,
    ...wrong.map((what) => `WRONG: ${what}`),
    `verdict: ${verdict}`,
  ].join('\n')
}
