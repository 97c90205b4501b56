import { sharesOf } from '../cluster/rules/shares.ts'
import type { State } from '../cluster/state.ts'
import type { Lane, Shares } from './lanes.ts'

/** What everybody who waits has had so far, by weight. */
export function shareTable(state: State, lanes: Iterable<Lane>, now: number): Shares {
  const shares = sharesOf(state, now)
  const known = new Map<string, number>()
  const share = (subject: string) => {
    const before = known.get(subject) ?? shares(subject)
    known.set(subject, before)
    return before
  }
  const [teams, users] = [new Set<string>(), new Set<string>()]
  for (const { team, user } of lanes) {
    teams.add(`team:${team}`)
    users.add(`user:${user}`)
  }
  const over = new Map<string, boolean>()
  const isOver = (all: ReadonlySet<string>, subject: string) => {
    const before = over.get(subject) ?? hasMore(all, subject, share)
    over.set(subject, before)
    return before
  }
  return {
    team: (team) => share(`team:${team}`),
    user: (user) => share(`user:${user}`),
    overserved: (team, user) => isOver(teams, `team:${team}`) || isOver(users, `user:${user}`),
  }
}

/** Shares are by weight, so all of them are equal when everybody has had what is due. */
function hasMore(all: ReadonlySet<string>, subject: string, share: (subject: string) => number): boolean {
  if (all.size < 2) return false
  const total = [...all].reduce((sum, each) => sum + share(each), 0)
  return share(subject) > (1.02 * total) / all.size
}
