import type { Reason } from '../../contract/index.ts'
import { askOf, overBudget, overLimits } from '../cluster/rules/quota.ts'
import type { State } from '../cluster/state.ts'
import type { Gang } from './gang.ts'
import type { Tally } from './tally.ts'

/** The quotas as `apply` keeps them, over what is held and what was placed in this pass. */
export class QuotaCheck {
  readonly #state: State
  readonly #tally: Tally
  readonly #now: number
  /** Of a month, by owner and team: it takes a walk over all that runs. */
  readonly #budgets = new Map<string, Reason | null>()

  constructor(state: State, tally: Tally, now: number) {
    this.#state = state
    this.#tally = tally
    this.#now = now
  }

  /** Which quota the gang would break; `first`: nothing of its workload runs yet. */
  over({ workload, tasks }: Gang, first: boolean): Reason | null {
    if (!this.#state.quotas.size) return null
    const useOf = (subject: string) => this.#tally.of(subject)
    const over = overLimits(this.#state, workload, askOf(tasks, first), useOf)
    if (over) return over
    const key = `${workload.owner}\n${workload.team ?? ''}`
    const before = this.#budgets.get(key)
    if (before !== undefined) return before
    const budget = overBudget(this.#state, workload, this.#now)
    this.#budgets.set(key, budget)
    return budget
  }
}
