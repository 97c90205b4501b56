import { hash } from 'node:crypto'
import { actorName, auditOrigin, type AuditRecord, auditText } from '../../../contract/index.ts'
import type { Outcome } from '../apply.ts'
import type { Entry } from '../commands.ts'
import type { State } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { objectOf, rowOf } from './object.ts'

type Result = ReturnType<Transaction['end']> & { readonly outcome: Outcome }
export type Audited = Result & { readonly audit: readonly AuditRecord[] }
type Content = Omit<AuditRecord, 'seq' | 'previous' | 'sha256'>

/** The key of the only row of `auditHead`: the newest record's number and digest. */
export const theHead = 'self'
const longest = 300

/**
 * The result of an entry with its audit records, and the head of their chain in the state: whoever alters, drops or
 * adds a record on one replica differs from the others, and from the digest that every later record was made with.
 */
export function audited(before: State, index: number, entry: Entry, result: Result): Audited {
  const contents = contentsOf(before, index, entry, result)
  if (!contents.length) return { ...result, audit: [] }
  const head = before.auditHead.get(theHead)
  let { seq, sha256 } = head ?? { seq: 0, sha256: auditOrigin }
  const audit = contents.map((content) => {
    const record = { ...content, seq: ++seq, previous: sha256 }
    sha256 = hash('sha256', auditText(record))
    return { ...record, sha256 }
  })
  const row = { seq, sha256, resource_version: index }
  return {
    ...result,
    state: { ...result.state, auditHead: before.auditHead.set(theHead, row) },
    changed: new Map([...result.changed, ['auditHead', new Set([theHead])]]),
    audit,
  }
}

function contentsOf(before: State, index: number, entry: Entry, result: Result): Content[] {
  const { command } = entry
  // Entries of before carry no origin, so every replica leaves them out, whichever version applied them first.
  const own = entry.origin ? [contentOf(before, index, entry, result)] : []
  if (command.type !== 'audit.note') return own
  return [
    ...own,
    ...command.notes.map((note) => ({ ...note, index, before: null, after: note.after ?? null })),
  ]
}

function contentOf(before: State, index: number, entry: Entry, { state, outcome, events }: Result): Content {
  const { actor, command, at, origin } = entry
  const object = objectOf(command)
  const refused = 'problem' in outcome ? outcome.problem : undefined
  const message = refused?.message ?? events[0]?.message ?? null
  return {
    at,
    index,
    actor: actorName(actor),
    token: actor.kind === 'user' ? (actor.token ?? null) : null,
    address: origin?.address ?? null,
    request: origin?.request ?? null,
    action: command.type,
    object,
    decision: refused ? 'refused' : 'allowed',
    code: refused?.code ?? null,
    message: message && message.slice(0, longest),
    before: digestOf(rowOf(before, object, command)),
    after: digestOf(rowOf(state, object, command)),
    count: 1,
  }
}

/** Made anew each time: remembering it for every row costs the garbage collector more than that. */
const digestOf = (row: object | undefined): string | null =>
  row ? hash('sha256', JSON.stringify(row)) : null
