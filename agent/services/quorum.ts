import { formatDuration, ProblemError } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { NodeRow } from '../cluster/state.ts'
import { livenessOf } from './views.ts'

/** Enough voters must answer without it to agree on its removal, and on everything after. */
export function checkQuorumWithout(cluster: Cluster, id: string): void {
  const { voters, learners } = cluster.status()
  const rows = [...cluster.state().nodes.values()]
  const leaving = rows.find((row) => row.id === id)
  if (!leaving || rows.length === 1 || !voters.includes(leaving.member)) return
  const answers = (row: NodeRow) => ['ready', 'suspect'].includes(livenessOf(cluster, row.id).liveness)
  const others = rows.filter((row) => row !== leaving && voters.includes(row.member))
  if (voters.length === 1) {
    if (rows.some((row) => learners.includes(row.member) && answers(row))) return
    throw new ProblemError('conflict', `${leaving.name} is the only voter, and no other host answers`, {
      hint: 'Start the agent of another host first: it takes over.',
    })
  }
  const need = Math.floor(voters.length / 2) + 1
  const left = others.filter(answers)
  if (left.length >= need) return
  const silent = others.filter((row) => !answers(row))
  const missing = silent.map((row) => row.name + sinceOf(cluster, row)).join(', ')
  throw new ProblemError(
    'conflict',
    `without ${leaving.name}, ${left.length} of ${voters.length} voters would answer and ${need} are needed` +
      (missing && `; silent: ${missing}`),
    {
      hint: silent.length
        ? `Start the agent of ${silent[0]?.name} first, or, if that host is gone for good, remove it instead.`
        : 'Let another host join first, and wait until it votes.',
    },
  )
}

function sinceOf(cluster: Cluster, { id }: NodeRow): string {
  const { silent_ms } = livenessOf(cluster, id)
  return silent_ms === null ? '' : ` for ${formatDuration(Math.round(silent_ms / 1000))}`
}
