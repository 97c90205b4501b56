import { type Actor, type MonitorToken, ProblemError } from '../../contract/index.ts'
import { newToken } from '../cluster/identity/seal.ts'
import type { Family } from '../monitoring/family.ts'
import { demand } from './access.ts'
import type { ServiceDeps } from './context.ts'

export interface MonitoringService {
  /** The metrics of this agent, as they are now. */
  metrics(actor: Actor): readonly Family[]
  createToken(actor: Actor, options: { days: number }): Promise<MonitorToken>
  revokeTokens(actor: Actor): Promise<void>
}

const dayMs = 24 * 3600 * 1000

export function createMonitoring({ cluster, families, now = Date.now }: ServiceDeps): MonitoringService {
  return {
    metrics(actor) {
      demand(actor, 'monitoring:read')
      return families()
    },
    async createToken(actor, { days }) {
      demand(actor, 'cluster:admin')
      if (actor.kind !== 'user') throw new ProblemError('forbidden', 'only people make such tokens')
      const { token, sha256 } = newToken()
      const expires_at = new Date(now() + days * dayMs).toISOString()
      await cluster.propose({ type: 'monitorToken.create', sha256, user: actor.name, expires_at }, actor)
      return { token, expires_at }
    },
    async revokeTokens(actor) {
      demand(actor, 'cluster:admin')
      await cluster.propose({ type: 'monitorTokens.revoke' }, actor)
    },
  }
}
