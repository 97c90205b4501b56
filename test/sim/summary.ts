import type { RunResult } from './run.ts'

/** What many runs did together. */
export class Summary {
  seeds = 0
  operations = 0
  simulatedMs = 0
  /** Of one seed. */
  least = { operations: Infinity, faults: Infinity, simulatedMs: Infinity }
  readonly counts = new Map<string, number>()
  readonly failed: RunResult[] = []

  add(r: RunResult): void {
    this.seeds++
    this.operations += r.operations
    this.simulatedMs += r.simulatedMs
    for (const [what, n] of Object.entries(r.counts)) this.counts.set(what, (this.counts.get(what) ?? 0) + n)
    if (r.violation !== undefined) {
      this.failed.push(r)
      return
    }
    const { least } = this
    least.operations = Math.min(least.operations, r.operations)
    least.faults = Math.min(least.faults, r.faults)
    least.simulatedMs = Math.min(least.simulatedMs, r.simulatedMs)
  }

  line(): string {
    const hours = (this.simulatedMs / 3_600_000).toFixed(1)
    return `${this.seeds} seeds, ${hours} simulated hours, ${this.operations} operations, ${this.failed.length} violations`
  }

  describe(): string {
    const table = (prefix: string) =>
      [...this.counts]
        .filter(([what]) => what.startsWith(prefix))
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([what, n]) => `  ${String(n).padStart(9)}  ${what.slice(prefix.length)}`)
        .join('\n')
    const { operations, faults, simulatedMs } = this.least
    return [
      this.line(),
      `least of one seed: ${operations} operations, ${faults} faults, ${(simulatedMs / 1000).toFixed(0)} simulated seconds`,
      `faults\n${table('fault ')}`,
      `operations\n${table('operation ')}`,
      `histories\n${table('history ')}`,
      `sometimes\n${table('some ')}`,
    ].join('\n')
  }
}

export const reproduce = (seed: number): string => `npm run sim -- --seed ${seed} --trace`
