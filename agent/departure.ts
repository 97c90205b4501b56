import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type DataFolder, markRemoved } from './cluster/identity/data-folder.ts'
import type { Roster } from './cluster/roster.ts'
import type { PeerWire } from './cluster/wire/peers.ts'

/**
 * Some election timeouts: members that have not heard of the removal yet can learn it from the removed one, should
 * their leader die just now (raft/README.md, "What the caller owes").
 */
const lingerMs = 3_000

export interface DepartureOptions {
  readonly folder: Pick<DataFolder, 'path' | 'identity'>
  readonly roster: Roster
  readonly peers: PeerWire
  readonly endTasks: () => Promise<void>
  readonly log: Logger
}

/** Resolves when this node was removed, as its own replica or another agent says, and nothing of it runs any more. */
export async function departure({ folder, roster, peers, endTasks, log }: DepartureOptions): Promise<void> {
  await new Promise<void>((resolve) => {
    roster.onGone((member) => member === folder.identity.member && resolve())
    peers.onRemoved(resolve)
  })
  // First: whatever happens from here on, it does not take part again.
  await markRemoved(folder)
  log.warn('this node was removed from the cluster; its tasks are ended')
  await Promise.all([endTasks(), pause(lingerMs)])
}
