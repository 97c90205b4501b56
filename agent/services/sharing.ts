import type { Actor, Sharing } from '../../contract/index.ts'
import { sharingOf } from '../cluster/visibility.ts'
import { experimentFor } from './access.ts'
import type { ServiceDeps } from './context.ts'

export interface SharingService {
  /** Sets who besides its owner sees an experiment. */
  shareExperiment(actor: Actor, ref: string, sharing: Sharing, ifVersion?: number): Promise<Sharing>
}

export function createSharing({ cluster }: ServiceDeps): SharingService {
  return {
    async shareExperiment(actor, ref, sharing, ifVersion) {
      const row = await experimentFor(cluster, actor, 'experiment:share', ref)
      const if_version = ifVersion === undefined ? {} : { if_version: ifVersion }
      await cluster.propose({ type: 'experiment.share', id: row.id, sharing, ...if_version }, actor)
      return sharingOf(cluster.state().experiments.get(row.id) ?? row)
    },
  }
}
