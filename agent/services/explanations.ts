import type { Actor, Explanation, ExperimentSpec } from '../../contract/index.ts'
import type { State } from '../cluster/state.ts'
import { explainSteps } from '../scheduler/explain.ts'
import { withSubmission } from '../scheduler/feasible.ts'
import { inSlices } from '../scheduler/slices.ts'
import { surroundingsOf } from '../scheduler/surroundings.ts'
import { experimentFor } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'

export interface ExplanationService {
  /** Why it waits, when it will start, and what would help. Any agent knows. */
  get(actor: Actor, ref: string, query: { consistency: Consistency }): Promise<Explanation>
}

export function createExplanations(deps: ServiceDeps): ExplanationService {
  return {
    async get(actor, ref, { consistency }) {
      await settled(deps.cluster, consistency)
      const row = await experimentFor(deps.cluster, actor, 'experiment:read', ref)
      return explain(deps, deps.cluster.state(), row.id)
    },
  }
}

/** Where a spec would go, were it submitted now. */
export function explainSpec(
  deps: ServiceDeps,
  id: string,
  spec: ExperimentSpec,
  owner: string,
): Promise<Explanation> {
  const now = (deps.now ?? Date.now)()
  return explain(deps, withSubmission(deps.cluster.state(), id, spec, owner, now), id)
}

const explain = ({ cluster, now }: ServiceDeps, state: State, id: string): Promise<Explanation> =>
  inSlices(explainSteps(state, surroundingsOf(cluster, now), id))
