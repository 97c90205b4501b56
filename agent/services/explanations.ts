import type { Actor, Explanation, ExperimentSpec } from '../../contract/index.ts'
import type { State } from '../cluster/state.ts'
import { explainSteps } from '../scheduler/explain.ts'
import { withSubmission } from '../scheduler/feasible.ts'
import { inSlices } from '../scheduler/slices.ts'
import { surroundingsOf } from '../scheduler/surroundings.ts'
import { experimentFor } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { explanationFor } from './seen.ts'

export interface ExplanationService {
  /** Why it waits, when it will start, and what would help. Any agent knows. */
  get(actor: Actor, ref: string, query: { consistency: Consistency }): Promise<Explanation>
}

export function createExplanations(deps: ServiceDeps): ExplanationService {
  return {
    async get(actor, ref, { consistency }) {
      await settled(deps.cluster, consistency)
      const row = await experimentFor(deps.cluster, actor, 'experiment:read', ref)
      const state = deps.cluster.state()
      return explanationFor(actor, state, await explain(deps, state, row.id))
    },
  }
}

/** Where a spec would go, were it submitted now. */
export async function explainSpec(
  deps: ServiceDeps,
  actor: Actor,
  { id, spec, owner }: { readonly id: string; readonly spec: ExperimentSpec; readonly owner: string },
): Promise<Explanation> {
  const now = (deps.now ?? Date.now)()
  const state = deps.cluster.state()
  return explanationFor(actor, state, await explain(deps, withSubmission(state, id, spec, owner, now), id))
}

const explain = ({ cluster, now }: ServiceDeps, state: State, id: string): Promise<Explanation> =>
  inSlices(explainSteps(state, surroundingsOf(cluster, now), id))
