import type { Entry, NodeId, Term } from '../../raft/types.ts'
import { BASE, ELECTION_TICKS, type Member } from './member.ts'

/** What the invariants need to know of one member. */
export interface View {
  readonly term: Term
  readonly leads: boolean
  readonly commit: number
  /** The leader was heard too lately for another to have this vote. */
  readonly inLease: boolean
  /** Entries as texts `term:data`, from the first after the founders' on. */
  readonly log: readonly string[]
  readonly durable: readonly string[]
  readonly durableTerm: Term
  /** Where this log stands among all logs seen, so that pairs are compared once. */
  readonly logNumber: number
}

/** What has ever happened and must stay so: part of the state, as it decides what is allowed from there on. */
export interface Ghost {
  /** Who won which term. */
  readonly leaders: readonly (readonly [Term, NodeId])[]
  /** What was committed, and in which term. */
  readonly committed: readonly { readonly entry: string; readonly term: Term }[]
  /** How much was committed when the read was asked for; undefined before. */
  readonly read: number | undefined
}

export const INNOCENT: Ghost = { leaders: [], committed: [], read: undefined }

export class Violation extends Error {}

const entryText = (e: Entry): string => `${e.term}:${Buffer.from(e.data).toString('hex')}`

export function viewOf({ node, durable }: Member, logNumber: (log: readonly string[]) => number): View {
  const { lastIndex } = node.status()
  const log = lastIndex > BASE ? node.entries(BASE + 1, lastIndex + 1).map(entryText) : []
  const { role, term, commitIndex: commit } = node
  return {
    term,
    leads: role === 'leader',
    inLease: node.electionElapsed < ELECTION_TICKS,
    commit: commit - BASE,
    log,
    durable: durable.log.map(entryText),
    durableTerm: durable.hard.term,
    logNumber: logNumber(log),
  }
}

/** Within one life of a member neither its term nor its commit index goes back, nor does the log below that change. */
export function checkStep(before: View, after: View): void {
  if (after.term < before.term) throw new Violation(`the term went back from ${before.term} to ${after.term}`)
  if (after.commit < before.commit)
    throw new Violation(`the commit index went back from ${before.commit + BASE} to ${after.commit + BASE}`)
  if (before.leads && after.leads && before.term === after.term && !startsWith(after.log, before.log))
    throw new Violation('a leader changed its log (leader append-only)')
}

/** The history after `changed` (its place among the views) took a step. */
export function witness(g: Ghost, views: readonly View[], changed: number): Ghost {
  const v = views[changed] as View
  let next = v.leads ? elected(g, v.term, changed + 1) : g
  if (v.commit > next.committed.length) next = commits(next, v, changed + 1)
  checkCommitted(next, views, changed, next !== g)
  return next
}

function elected(g: Ghost, term: Term, id: NodeId): Ghost {
  const before = g.leaders.find(([t]) => t === term)?.[1]
  if (before === id) return g
  if (before !== undefined)
    throw new Violation(`two leaders in term ${term}: ${before} and ${id} (election safety)`)
  return { ...g, leaders: [...g.leaders, [term, id] as const].sort(([a], [b]) => a - b) }
}

function commits(g: Ghost, v: View, id: NodeId): Ghost {
  if (!v.leads) throw new Violation(`${id} commits ${v.commit + BASE}, which no leader has committed`)
  const fresh = v.log.slice(g.committed.length, v.commit).map((entry) => ({ entry, term: v.term }))
  return { ...g, committed: [...g.committed, ...fresh] }
}

function checkCommitted(g: Ghost, views: readonly View[], changed: number, news: boolean): void {
  const v = views[changed] as View
  for (let i = 0; i < v.commit; i++)
    if (v.log[i] !== g.committed[i]?.entry)
      throw new Violation(
        `${changed + 1} has committed another entry at ${i + 1 + BASE} (state machine safety)`,
      )
  for (const [n, other] of views.entries()) if (n === changed || news) checkLeader(g, other, n + 1)
  g.committed.forEach(({ entry }, i) => {
    const copies = views.filter((x) => x.durable[i] === entry).length
    if (copies * 2 <= views.length)
      throw new Violation(
        `the committed entry ${i + 1 + BASE} is on ${copies} disks only (committed is lost)`,
      )
  })
}

function checkLeader(g: Ghost, v: View, id: NodeId): void {
  if (!v.leads) return
  g.committed.forEach(({ entry, term }, i) => {
    if (term < v.term && v.log[i] !== entry)
      throw new Violation(
        `leader ${id} of term ${v.term} lacks the committed entry ${i + 1 + BASE} (leader completeness)`,
      )
  })
}

/** Entries of the same index and term are the same, and so is all before them. */
export function checkLogs(a: readonly string[], b: readonly string[]): void {
  const termOf = (e: string | undefined) => e?.split(':')[0]
  for (let i = Math.min(a.length, b.length) - 1; i >= 0; i--) {
    if (termOf(a[i]) !== termOf(b[i])) continue
    for (let j = 0; j <= i; j++)
      if (a[j] !== b[j]) throw new Violation(`logs differ at ${j + 1 + BASE} and agree later (log matching)`)
    return
  }
}

/** A read may not be answered with less than was committed when it was asked for. */
export function checkRead(g: Ghost, index: number): void {
  if (g.read !== undefined && index - BASE < g.read)
    throw new Violation(
      `a read was answered with ${index} although ${g.read + BASE} was committed before (stale read)`,
    )
}

function startsWith(log: readonly string[], prefix: readonly string[]): boolean {
  return prefix.every((e, i) => log[i] === e)
}
