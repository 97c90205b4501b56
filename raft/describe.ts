import { decodeConfChange } from './codec.ts'
import type { PeerStatus, Ready, Status } from './node.ts'
import type { ConfChange, ConfState, Entry, Message } from './types.ts'

/** Stable texts for logs and tests. Nothing is built unless asked for. */
export function describeConf(c: ConfState): string {
  const list = (ids: readonly number[]) => `(${ids.join(' ')})`
  const parts = [`voters=${list(c.voters)}`]
  if (c.votersOutgoing.length > 0) parts.push(`outgoing=${list(c.votersOutgoing)}`)
  if (c.learners.length > 0) parts.push(`learners=${list(c.learners)}`)
  if (c.learnersNext.length > 0) parts.push(`learnersNext=${list(c.learnersNext)}`)
  if (c.autoLeave) parts.push('autoLeave')
  return parts.join(' ')
}

export function describeChange(c: ConfChange): string {
  return c.changes.length === 0 ? 'leave joint' : c.changes.map((i) => `${i.type} ${i.id}`).join(', ')
}

/** One line, the same for the same entry. */
export function describeEntry(e: Entry): string {
  if (e.kind === 'config') return `${e.term}/${e.index} config [${describeChange(decodeConfChange(e.data))}]`
  return `${e.term}/${e.index} ${describeData(e.data)}`
}

/** Short words as they are, anything else by its length. */
function describeData(data: Uint8Array): string {
  if (data.length === 0) return 'empty'
  const text = data.length <= 16 ? Buffer.from(data).toString('latin1') : ''
  return /^[\w.-]+$/.test(text) ? `"${text}"` : `${data.length} bytes`
}

/** One line, the same for the same message. */
export function describeMessage(m: Message): string {
  const head = `${m.from}->${m.to} ${m.type} term=${m.term}`
  switch (m.type) {
    case 'vote':
    case 'preVote':
      return `${head} last=${m.lastTerm}/${m.lastIndex}${m.transfer ? ' transfer' : ''}`
    case 'voteReply':
    case 'preVoteReply':
      return `${head} ${m.granted ? 'granted' : 'refused'}`
    case 'append':
      return `${head} prev=${m.prevTerm}/${m.prevIndex} commit=${m.commit} [${m.entries.map(describeEntry).join(', ')}]`
    case 'appendReply':
      return m.rejected
        ? `${head} rejected=${m.index} hint=${m.hintTerm}/${m.hintIndex}`
        : `${head} match=${m.index}`
    case 'heartbeat':
      return `${head} commit=${m.commit}${m.read > 0 ? ` read=${m.read}` : ''}`
    case 'heartbeatReply':
      return `${head}${m.read > 0 ? ` read=${m.read}` : ''}`
    case 'snapshot':
      return `${head} ${m.meta.term}/${m.meta.index} ${describeConf(m.meta.conf)}`
    case 'timeoutNow':
      return head
    case 'readIndex':
      return `${head} id=${m.id}`
    case 'readIndexReply':
      return `${head} id=${m.id} index=${m.index}`
    case 'propose':
      return `${head} number=${m.number} ${m.commands.length} commands`
    case 'proposeRefused':
      return `${head} number=${m.number} ${m.commands.length} commands${m.certain ? '' : ' perhaps'}${m.busy ? ' busy' : ''}`
  }
}

/** Lines, the same for the same Ready. */
export function describeReady(r: Ready): string {
  const lines: string[] = []
  if (r.soft) lines.push(`leader=${r.soft.leader} role=${r.soft.role}`)
  if (r.hard)
    lines.push(
      `hard term=${r.hard.term} vote=${r.hard.vote} commit=${r.hard.commit}${r.mustSync ? ' sync' : ''}`,
    )
  if (r.snapshot) lines.push(`snapshot ${r.snapshot.term}/${r.snapshot.index}`)
  for (const e of r.entries) lines.push(`append ${describeEntry(e)}`)
  for (const e of r.committed) lines.push(`apply ${describeEntry(e)}`)
  for (const m of r.messages) lines.push(`send ${describeMessage(m)}`)
  for (const m of r.afterSync) lines.push(`send after sync ${describeMessage(m)}`)
  for (const { id, index } of r.reads) lines.push(`read ${id} at ${index}`)
  return lines.join('\n')
}

/** Lines, the same for the same status. */
export function describeStatus(s: Status): string {
  const peers = [...s.progress].map(([id, p]) => `${id}:${describePeer(p)}`)
  return `${s.id} ${s.role} term=${s.term} leader=${s.leader} commit=${s.commit} applied=${s.applied} last=${s.lastIndex} ${describeConf(s.conf)}${peers.length > 0 ? ` {${peers.join(', ')}}` : ''}`
}

export function describePeer(p: PeerStatus): string {
  const parts = [`${p.state} match=${p.match} next=${p.next}`]
  if (p.pendingSnapshot > 0) parts.push(`snapshot=${p.pendingSnapshot}`)
  if (p.inflight > 0) parts.push(`inflight=${p.inflight}`)
  if (p.paused) parts.push('paused')
  if (!p.recentActive) parts.push('silent')
  if (p.isLearner) parts.push('learner')
  return parts.join(' ')
}
