import type { Liveness, Reason, Usage } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'

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
  return {
    ...calm(now()),
    liveness: (node) => live.get(node)?.liveness ?? 'unknown',
    diskLow: (node) => live.get(node)?.usage?.disk_low ?? false,
    blockedGpus: (node) => blockedGpusOf(live.get(node)?.usage ?? null),
  }
}

/** What others run on them, and what is wrong with them, as the node told last. */
function blockedGpusOf(usage: Usage | null): ReadonlyMap<string, Reason> {
  const blocked = new Map<string, Reason>()
  for (const { uuid, processes = [], fault } of usage?.gpus ?? []) {
    const foreign = processes.find((one) => one.blocking)
    if (fault) blocked.set(uuid, fault)
    else if (foreign) {
      const { user, name, pid } = foreign
      const message = `${user ?? 'somebody'} runs ${name} on it outside the cluster, pid ${pid}`
      blocked.set(uuid, { code: 'foreign_process', message })
    }
  }
  return blocked.size ? blocked : nothingBlocked
}
