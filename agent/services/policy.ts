import type { Actor, ContainerPolicy } from '../../contract/index.ts'
import { policyOf } from '../cluster/rules/policy.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'

export interface PolicyService {
  get(actor: Actor, query: { consistency: Consistency }): Promise<ContainerPolicy>
  /** What is left out is allowed to nobody. */
  set(actor: Actor, policy: ContainerPolicy): Promise<ContainerPolicy>
}

export function createPolicy({ cluster }: ServiceDeps): PolicyService {
  return {
    async get(actor, { consistency }) {
      demand(actor, 'policy:read')
      await settled(cluster, consistency)
      return policyOf(cluster.state())
    },
    async set(actor, policy) {
      demand(actor, 'policy:admin')
      await cluster.propose({ type: 'policy.set', policy }, actor)
      return policy
    },
  }
}
