import type { Workload } from './workloads.ts'

type Known = Pick<Workload, 'owner' | 'team' | 'visibility' | 'shared'>

/**
 * What a workload is called in a text that is shown with `reader`: by its name only if everybody who may read that one may
 * know of it too, else by whose it is. Nobody in particular (undefined) reads what several are told.
 */
export function calledFor(
  reader: Known | undefined,
  { name, ...other }: Known & { readonly name: string },
): string {
  const known = other.visibility === 'everyone' || (reader && sameReaders(reader, other))
  return known ? name : `work of ${other.owner}`
}

/** Does everybody who may read the one, besides admins, know of the other? Told only where it is plain. */
function sameReaders(one: Known, other: Known): boolean {
  if (one.shared || one.visibility === 'everyone') return false
  const sameTeam = one.team === other.team
  // The admins of its team see it, too, and see nothing of their members' own.
  if (one.owner === other.owner && (one.team === null || (sameTeam && one.visibility === 'private')))
    return true
  return sameTeam && one.team !== null && other.visibility === 'team'
}
