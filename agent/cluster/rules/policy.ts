import {
  defaultContainerPolicy,
  type ContainerPolicy,
  type ExperimentSpec,
  policyFaults,
  ProblemError,
} from '../../../contract/index.ts'
import type { PolicyCommand } from '../commands/policy.ts'
import { teamsOf } from '../people-ids.ts'
import type { State } from '../state.ts'
import type { Transaction } from '../transaction.ts'

const key = 'self'

/** What containers may have of their host; nothing, unless an admin said otherwise. */
export function policyOf(state: Pick<State, 'policy'>): ContainerPolicy {
  const row = state.policy.get(key)
  if (!row) return defaultContainerPolicy
  const { resource_version: _, ...policy } = row
  return { ...defaultContainerPolicy, ...policy }
}

export function set(tx: Transaction, { policy }: PolicyCommand): void {
  tx.put('policy', key, policy)
  const { mounts, devices, capabilities, host_network, root } = policy
  const named = [
    ...mounts.map(({ path, read_only }) => `${path}${read_only ? '' : ' (to write)'}`),
    ...devices.map(({ path }) => path),
    ...capabilities.map(({ name }) => name),
    ...(host_network.length ? ["the host's network"] : []),
    ...(root.length ? ['root'] : []),
  ]
  const allowed = named.length
    ? `some people: ${named.slice(0, 20).join(', ')}`
    : 'everybody nothing of their host'
  tx.event('policy.changed', { kind: 'cluster', id: key }, `${tx.who} allows the containers of ${allowed}`)
}

type Readable = Pick<State, 'policy' | 'teams'>

/** Refuses what asks for more of the host than the policy allows its owner. */
export function checkContainer(state: Readable, spec: ExperimentSpec, owner: string): void {
  const errors = policyFaults(spec, policyOf(state), { name: owner, teams: teamsOf(state, owner) })
  if (errors[0])
    throw new ProblemError('invalid_spec', errors[0].message, {
      errors,
      hint: 'Leave it out, or ask an admin of the cluster to allow it.',
    })
}
