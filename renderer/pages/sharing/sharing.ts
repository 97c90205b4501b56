import type { Sharing } from '../../../contract/people.ts'
import type { Level } from '../../../contract/permission.ts'

export type Share = Sharing['shares'][number]

/** With one more; whoever is in it already has the new level from now on. */
export const withShare = (shares: readonly Share[], added: Share): Share[] => [
  ...shares.filter((share) => share.with !== added.with),
  added,
]

export const withoutShare = (shares: readonly Share[], who: string): Share[] =>
  shares.filter((share) => share.with !== who)

/** What a level lets people do, in words that stand after a name. */
export const levelText: Record<Level, string> = {
  read: 'may see it',
  run: 'may use it',
  write: 'may change it',
  admin: 'may do all with it',
}

const named = (who: string) => who.replace(/^user:/, '').replace(/^team:/, 'team ')

/** Who besides its owner has to do with it, in a line. */
export function sharingText({ visibility, shares }: Sharing, team: string | null): string {
  const seen = { private: '', team: team === null ? '' : `team ${team}`, everyone: 'everyone' }[visibility]
  return [seen, ...shares.map((share) => named(share.with))].filter(Boolean).join(', ') || 'nobody else'
}
