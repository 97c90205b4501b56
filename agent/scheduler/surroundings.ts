import type { Liveness, Reason } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { imagesOn } from '../cluster/images.ts'
import { blockedGpus } from './blocked.ts'

/** What the planner knows beside the replicated state. */
export interface Surroundings {
  /** The leader's wall clock, ms. */
  readonly now: number
  readonly liveness: (node: string) => Liveness
  readonly diskLow: (node: string) => boolean
  /** GPUs that are not given out now, by UUID, and why: somebody else's processes, sick ones. */
  readonly blockedGpus: (node: string) => ReadonlyMap<string, Reason>
  /** Names of the images that lie there: what is there need not be fetched. */
  readonly images: (node: string) => ReadonlySet<string>
}

const nothingBlocked: ReadonlyMap<string, Reason> = new Map()
const noImages: ReadonlySet<string> = new Set()

/** Every node answers and nothing is in the way. */
export const calm = (now: number): Surroundings => ({
  now,
  liveness: () => 'ready',
  diskLow: () => false,
  blockedGpus: () => nothingBlocked,
  images: () => noImages,
})

/** What this agent hears of the nodes: on the leader at first hand, elsewhere by the leader's table. */
export function surroundingsOf(cluster: Cluster, now: () => number = Date.now): Surroundings {
  const live = cluster.peers.liveness()
  const state = cluster.state()
  return {
    ...calm(now()),
    liveness: (node) => live.get(node)?.liveness ?? 'unknown',
    diskLow: (node) => live.get(node)?.usage?.disk_low ?? false,
    blockedGpus: (node) => blockedGpus(live.get(node)?.usage ?? null),
    images: (node) => imagesOn(state, node),
  }
}
