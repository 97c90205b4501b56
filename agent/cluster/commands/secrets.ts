import type { Sharing } from '../../../contract/index.ts'
import type { Rewrapped } from '../sealed.ts'
import type { SecretRow } from '../state.ts'

/** What is kept for tasks and told to nobody. */
export type SecretCommand =
  /** `version`: what it is sealed for, one more than the one before. */
  | ({ type: 'secret.put'; id: string; version: number; sealed: string } & Pick<
      SecretRow,
      'owner' | 'name' | 'team' | 'kind' | 'principal' | 'description' | 'bytes'
    >)
  | { type: 'secret.delete'; id: string }
  | { type: 'secret.share'; id: string; sharing: Sharing }
  /** The cluster key of the id `key`, which all voters have, is in use from now; `from`: the one before, if it had an id. */
  | { type: 'clusterKey.rotate'; key: string; from?: string; texts: readonly Rewrapped[] }
