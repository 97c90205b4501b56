import type { Reason } from '../../contract/index.ts'
import {
  askOf,  overBudget, overLimits, plus, subjectsOf, type Use, usageOf,
} from '../cluster/rules/quota.ts' // prettier-ignore
import type { State } from '../cluster/state.ts'
import type { Gang } from './gang.ts'

/** The quotas as `apply` keeps them, over what is held and what was placed in this pass. */
export class QuotaCheck {
  readonly #state: State
  readonly #now: number
  readonly #used = new Map<string, Use>()
  /** Of a month, by owner and team: it takes a walk over all that runs. */
  readonly #budgets = new Map<string, Reason | null>()

  constructor(state: State, now: number) {
    this.#state = state
    this.#now = now
  }

  readonly useOf = (subject: string): Use => {
    let used = this.#used.get(subject)
    if (!used) this.#used.set(subject, (used = usageOf(this.#state, subject)))
    return used
  }

  /** Which quota the gang would break; `first`: nothing of its workload runs yet. */
  over({ workload, tasks }: Gang, first: boolean): Reason | null {
    if (!this.#state.quotas.size) return null
    const over = overLimits(this.#state, workload, askOf(tasks, first), this.useOf)
    if (over) return over
    const key = `${workload.owner}\n${workload.team ?? ''}`
    const before = this.#budgets.get(key)
    if (before !== undefined) return before
    const budget = overBudget(this.#state, workload, this.#now)
    this.#budgets.set(key, budget)
    return budget
  }

  /** The gang was placed in this pass. */
  charge({ workload, tasks }: Gang, first: boolean): void {
    const ask = askOf(tasks, first)
    for (const subject of subjectsOf(workload)) this.#used.set(subject, plus(this.useOf(subject), ask))
  }
}
