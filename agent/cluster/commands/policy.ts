import type { ContainerPolicy } from '../../../contract/index.ts'

/** What containers may have of their host. */
export type PolicyCommand = { type: 'policy.set'; policy: ContainerPolicy }
