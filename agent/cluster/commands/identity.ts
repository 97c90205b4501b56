import type { ProviderSettings } from '../../../contract/index.ts'

/** Directories and identity providers, and those who come by them. */
export type IdentityCommand =
  | {
      type: 'identityProvider.put'
      name: string
      settings: ProviderSettings
      /** Its secret, sealed by the cluster key. null: it has none. Absent: the one of before. */
      sealed?: string | null
      if_version?: number
    }
  | { type: 'identityProvider.delete'; name: string }
  /** A provider has just vouched for somebody: what they are here follows. */
  | {
      type: 'user.sync'
      provider: string
      /** The provider's own id for them. */
      external_id: string
      name: string
      display_name?: string
      email?: string
      groups: readonly string[]
    }
