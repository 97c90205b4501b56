/** Tokens that may read the agents' metrics and nothing else. */
export type MonitoringCommand =
  | { type: 'monitorToken.create'; sha256: string; user: string; expires_at: string }
  /** All of them. */
  | { type: 'monitorTokens.revoke' }
