import { type Actor, actorName, type ProblemError, type Route } from '../../contract/index.ts'
import type { AuditNote } from '../cluster/commands/audit.ts'

/** A call that was not allowed. */
export interface RefusedCall {
  readonly actor: Actor
  readonly problem: ProblemError
  readonly access: Route['access'] | undefined
  readonly method: string
  /** Of the route table, without what was asked for. */
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  /** Who they said they were, of those whom the cluster knows. */
  readonly account?: string | undefined
  readonly address: string
  readonly request: string
}

/** Alike refusals within so long are one record. */
const windowMs = 60_000
/** Different refusals of one actor in a window that get records of their own. */
const mostEach = 20
/** Waiting for a leader; beyond that, only the counts of what is known grow. */
const mostWaiting = 2_000

interface Counted {
  note: AuditNote
  /** How many the cluster has not been told of. */
  untold: number
  readonly until: number
}

/**
 * Refusals on their way into the audit log. The first of each kind goes at once; what is alike is counted and told at
 * the end of its minute, so that a script that keeps trying costs one record a minute.
 */
export class Refusals {
  readonly #propose: (notes: readonly AuditNote[]) => Promise<unknown>
  readonly #now: () => number
  readonly #counted = new Map<string, Counted>()
  readonly #timer: NodeJS.Timeout
  #telling: Promise<void> = Promise.resolve()

  constructor(propose: (notes: readonly AuditNote[]) => Promise<unknown>, now: () => number) {
    this.#propose = propose
    this.#now = now
    this.#timer = setInterval(() => void this.tell(), windowMs / 4).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  add(note: AuditNote): void {
    const key = this.#keyOf(note)
    const known = this.#counted.get(key)
    if (known && (known.until > this.#now() || known.untold > 0)) {
      known.untold++
      known.note = { ...note, object: known.note.object, message: known.note.message }
      return
    }
    if (this.#counted.size >= mostWaiting) return
    this.#counted.set(key, {
      note: this.#isMany(key) ? summed(note) : note,
      untold: 1,
      until: this.#now() + windowMs,
    })
    if (!this.#isMany(key)) void this.tell(key)
  }

  /** Tell what is due: one kind, or all whose minute is over. */
  tell(only?: string): Promise<void> {
    this.#telling = this.#telling.then(() => this.#tellDue(only))
    return this.#telling
  }

  async #tellDue(only: string | undefined): Promise<void> {
    const due = [...this.#counted].filter(
      ([key, { until }]) => key === only || (!only && until <= this.#now()),
    )
    const untold = due.filter(([, { untold }]) => untold > 0).map(([, counted]) => counted)
    const counts = untold.map((counted) => counted.untold)
    for (const counted of untold) counted.untold = 0
    if (untold.length) {
      const notes = untold.map(({ note }, at) => ({ ...note, count: counts[at] ?? 1 }))
      await this.#propose(notes).catch(() => {
        // Told with the next ones, when there is a leader again.
        for (const [at, counted] of untold.entries()) counted.untold += counts[at] ?? 0
      })
    }
    for (const [key, { until, untold: left }] of this.#counted)
      if (until <= this.#now() && left === 0) this.#counted.delete(key)
  }

  #keyOf({ actor, action, object, code, address }: AuditNote): string {
    const key = JSON.stringify([actor, action, object.kind, object.id, code, address])
    if (this.#counted.has(key)) return key
    let own = 0
    const prefix = JSON.stringify([actor]).slice(0, -1)
    for (const each of this.#counted.keys()) if (each.startsWith(prefix)) own++
    return own < mostEach ? key : many + actor
  }

  #isMany(key: string): boolean {
    return key.startsWith(many)
  }
}

const many = 'many '

/** One record for all that an actor was refused beyond the first. */
const summed = (note: AuditNote): AuditNote => ({
  ...note,
  object: { kind: note.object.kind, id: null },
  message: 'more calls than are told one by one were refused; this is the last of them',
})

/** Who tries to do what, as the audit log has it. */
export function noteOf(call: RefusedCall, at: string): AuditNote {
  const { actor, problem, access, account, method, path, params, address, request } = call
  const [kind = 'request'] = account === undefined ? (access?.split(':') ?? []) : ['user']
  const id = account ?? Object.values(params)[0]
  return {
    at,
    actor: actorName(actor),
    token: actor.kind === 'user' ? (actor.token ?? null) : null,
    address,
    request,
    action: access?.replace(':', '.') ?? 'request',
    object: { kind, id: id === undefined ? null : printable(id) },
    decision: 'refused',
    code: problem.code,
    message: printable(`${method} ${path}: ${problem.message}`),
    count: 1,
  }
}

const printable = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f]/g, '?').slice(0, 300)
