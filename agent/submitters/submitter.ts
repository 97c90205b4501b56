import type { Actor, ExperimentSpec } from '../../contract/index.ts'

/**
 * How an experiment reaches a compute cluster. `docker` (the built-in cluster) is the first; services know only this,
 * so a cluster of another kind is one more module here and never enters the node.
 */
export interface Submitter {
  readonly name: string
  /** Throws ProblemError `never_fits` or `unsupported` when it could never run here, for this owner. */
  validate(spec: ExperimentSpec, owner: string): void
  submit(request: Submission, actor: Actor): Promise<{ id: string; made: boolean }>
  stop(experiment: string, actor: Actor): Promise<void>
}

export interface Submission {
  readonly id: string
  readonly spec: ExperimentSpec
  readonly owner: string
  readonly idempotency?: { readonly key: string; readonly request_sha256: string }
}
