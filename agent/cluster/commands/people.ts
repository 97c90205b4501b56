import type { Rank, Sharing, TeamRank } from '../../../contract/index.ts'

/** People, their teams, what they sign in with, and what they share. */
export type PeopleCommand =
  | {
      type: 'user.create'
      name: string
      rank: Rank
      /** Empty where an identity provider checks it. */
      password_hash: string
      must_change?: boolean
      /** Absent: the password is checked here. */
      source?: string
      /** Absent: the next that is free. */
      uid?: number
      display_name?: string
      email?: string
    }
  | { type: 'user.edit'; name: string; change: UserChange; if_version?: number }
  /** Their sign-ins end, but for the one of the digest `keep`. */
  | { type: 'user.password'; name: string; password_hash: string; must_change: boolean; keep?: string }
  /** The same password, hashed anew at today's cost; nothing else changes. */
  | { type: 'user.rehash'; name: string; before: string; password_hash: string }
  | { type: 'user.delete'; name: string }
  /** Made if there is none; what is left out stays as it is. */
  | { type: 'team.put'; name: string; change: TeamChange; if_version?: number }
  | { type: 'team.delete'; name: string }
  /** `rank` null: a member no longer. */
  | { type: 'team.member'; team: string; user: string; rank: TeamRank | null }
  | {
      type: 'token.create'
      sha256: string
      user: string
      expires_at: string
      /** Absent: a sign-in. */
      kind?: 'api'
      id?: string
      name?: string
      scopes?: readonly string[]
      address?: string
    }
  | { type: 'token.delete'; sha256: string }
  /** When tokens were last used, as one agent saw it. */
  | { type: 'tokens.used'; used: readonly { readonly sha256: string; readonly at: string }[] }
  /** `if_version` is the version that the experiment is shown with. */
  | { type: 'experiment.share'; id: string; sharing: Sharing; if_version?: number }

export interface UserChange {
  readonly rank?: Rank
  readonly disabled?: boolean
  readonly uid?: number
  readonly display_name?: string
  readonly email?: string
}

export interface TeamChange {
  readonly description?: string
  readonly groups?: readonly string[]
}
