import type { Bounds } from './search.ts'

const calm: Omit<Bounds, 'states'> = {
  led: false,
  maxTerm: 3,
  maxMessages: 6,
  campaigners: [1, 2],
  slow: [],
  beats: 0,
  proposals: 0,
  crashes: 0,
  drops: 0,
  duplicates: 0,
  reads: 0,
}

/** What is searched: each a corner in which some rule is all that stands between two members and disagreement. */
export const profiles: Readonly<Record<string, Omit<Bounds, 'states'>>> = {
  /** Two candidates, a voter with a slow disk, one crash: votes that are asked for, given and forgotten. */
  elections: { ...calm, slow: [3], crashes: 1 },
  /** A leader that may crash with entries half written, replicating over a network that repeats itself. */
  replication: {
    ...calm,
    led: true,
    campaigners: [1],
    slow: [1, 2],
    beats: 1,
    proposals: 2,
    crashes: 1,
    drops: 1,
    duplicates: 1,
  },
  /** A leader is replaced while it goes on proposing and answering reads: two terms, two logs that disagree. */
  succession: { ...calm, led: true, campaigners: [2], proposals: 1, reads: 1 },
  /** The same with disks that take their time and a crash, also of the new leader. */
  'crash in succession': { ...calm, led: true, slow: [1, 2], beats: 1, proposals: 1, crashes: 1 },
}
