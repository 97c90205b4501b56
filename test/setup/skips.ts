// Ends a test run with every skipped test by name, why it was skipped and how to have it run, every test that passed
// only when it was tried again, with what it said the first time, and one line of counts. In CI a skip fails the run, unless what it lacks is something that CI may lack.
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node'
import type { Lacking } from './needs.ts'

interface Skip {
  name: string
  lacking: Lacking
}

const unexplained: Lacking = {
  what: 'no reason given',
  remedy: 'name it with test/setup/needs.ts',
  allowedInCi: false,
}

export class SkipReport implements Reporter {
  #vitest: Vitest | undefined

  onInit(vitest: Vitest) {
    this.#vitest = vitest
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]) {
    const counts = { passed: 0, failed: errors.length, skipped: 0 }
    const skips: Skip[] = []
    const unsteady: TestCase[] = []
    for (const module of modules) {
      const tests = [...module.children.allTests()]
      // A module that could not even be loaded, or whose hooks failed, has no failed test to show for it.
      if (module.state() === 'failed' && !tests.some((test) => test.result().state === 'failed'))
        counts.failed++
      for (const test of tests) {
        const { state } = test.result()
        if (state !== 'pending') counts[state]++
        if (test.diagnostic()?.flaky) unsteady.push(test)
        if (state === 'skipped')
          skips.push({ name: `${module.relativeModuleId} > ${test.fullName}`, lacking: reasonOf(test) })
      }
    }
    // Tests that a name pattern leaves out were not asked for.
    const asked = this.#vitest?.config.testNamePattern
      ? skips.filter(({ lacking }) => lacking !== unexplained)
      : skips
    for (const line of describeSkips(asked)) console.log(line)
    for (const test of unsteady) console.log(describeUnsteady(test))
    const forbidden = process.env['CI'] === 'true' ? skips.filter(({ lacking }) => !lacking.allowedInCi) : []
    if (forbidden.length > 0) {
      console.log(`\nIn CI these may not be skipped:\n${forbidden.map(({ name }) => `  ${name}`).join('\n')}`)
      process.exitCode = 1
    }
    const again = unsteady.length ? ` (${unsteady.length} of them only when tried again)` : ''
    console.log(`\n${counts.passed} passed${again}, ${counts.failed} failed, ${counts.skipped} skipped`)
  }
}

function describeUnsteady(test: TestCase): string {
  const said = (test.result().errors ?? []).map(({ message }) => message).join('\n')
  return `\nPassed only when tried again: ${test.module.relativeModuleId} > ${test.fullName}\n${said}`
}

/** Why a test was skipped: what it or one of its suites needs, or what it said itself. */
function reasonOf(test: TestCase): Lacking {
  for (let at: TestCase | TestCase['parent'] = test; at.type !== 'module'; at = at.parent) {
    const { lacking } = at.meta()
    if (lacking) return lacking
  }
  const result = test.result()
  return result.state === 'skipped' && result.note ? { ...unexplained, what: result.note } : unexplained
}

/** The skipped tests under what they lack. */
function describeSkips(skips: Skip[]) {
  const byReason = Map.groupBy(skips, ({ lacking }) => `${lacking.what} (to have it: ${lacking.remedy})`)
  return [...byReason].flatMap(([reason, group]) => [
    `\nSkipped for want of ${reason}:`,
    ...group.map(({ name }) => `  ${name}`),
  ])
}
