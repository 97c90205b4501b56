import type { Sharing } from '../../contract/index.ts'
import type { ExperimentRow } from './state.ts'

const unshared: Sharing = { visibility: 'private', shares: [] }
const ofTeam: Sharing = { visibility: 'team', shares: [] }

/** Who besides the owner sees it: as was chosen, or else what goes without saying. */
export function sharingOf({ sharing, spec }: Pick<ExperimentRow, 'sharing' | 'spec'>): Sharing {
  return sharing ?? (spec.team === undefined ? unshared : ofTeam)
}
