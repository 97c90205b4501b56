import type { Sharing } from '../../../contract/index.ts'
import type { SecretRow } from '../state.ts'

/** What is kept for tasks and told to nobody. */
export type SecretCommand =
  /** `version`: what it is sealed for, one more than the one before. */
  | ({ type: 'secret.put'; id: string; version: number; sealed: string } & Pick<
      SecretRow,
      'owner' | 'name' | 'team' | 'kind' | 'description' | 'bytes'
    >)
  | { type: 'secret.delete'; id: string }
  | { type: 'secret.share'; id: string; sharing: Sharing }
