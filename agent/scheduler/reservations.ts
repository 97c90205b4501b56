import type { ReservationRow, State } from '../cluster/state.ts'
import { endsBy, isHolder } from '../cluster/rules/reserved.ts'
import { type Workload, workloadOf } from '../cluster/workloads.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { Hold } from './holds.ts'
import { unlimitedMs } from './releases.ts'
import type { Bound, Site } from './site.ts'

/** What an admin keeps for somebody, now or soon: others may use it only until then. */
export function reservationHolds(index: ClusterIndex, state: State, now: number): Hold[] {
  const holds: Hold[] = []
  for (const row of [...state.reservations.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const [from, to] = [Date.parse(row.starts_at), Date.parse(row.ends_at)]
    // What has no limit is taken to run a day; before that nothing needs to stay free for it.
    if (to <= now || from > now + 30 * unlimitedMs) continue
    const kept = new Map<number, Bound>()
    for (const node of row.nodes) {
      const site = index.board.site(node)
      if (site) kept.set(site.index, besides(row, site, from, now, state))
    }
    const isFor = (workload: Workload) => isHolder(row, workload) || endsBefore(workload, now, from)
    holds.push({
      owner: row.id,
      name: row.name,
      kind: 'reservation',
      at: Math.max(now, from),
      certain: true,
      isFor,
      kept,
    })
  }
  return holds
}

function endsBefore({ limit_seconds }: Workload, now: number, from: number): boolean {
  return from > now && limit_seconds === null && now + unlimitedMs <= from
}

function besides(row: ReservationRow, site: Site, from: number, now: number, state: State): Bound {
  if (row.gpus === null) return { cpu: 0, memory: 0, disk: 0, gpu: 0, without: new Set() }
  const { cpu, memory, disk } = site
  const all = site.row.gpus.length
  let [others, own] = [0, 0]
  for (const task of site.holders.values()) {
    const workload = workloadOf(state, task.workload)
    if (!workload || (from > now && endsBy(workload, task, from))) continue
    if (isHolder(row, workload)) own += task.resources.gpu
    else others += task.resources.gpu
  }
  const spare = all - Math.max(row.gpus, own) - others
  return { cpu, memory, disk, gpu: spare, without: new Set() }
}
