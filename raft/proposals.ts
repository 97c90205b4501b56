import type { Env } from './env.ts'
import { decodeCommand, encodeCommand, type Answer, type Outcome, type Sessions } from './sessions.ts'
import { NONE, RaftError, type Index, type NodeId, type ProposeRefused } from './types.ts'
import { Window } from './window.ts'

export interface ProposalHost {
  readonly id: NodeId
  leader(): NodeId
  /** Appends on this member, if it is the leader. */
  append(command: Uint8Array): 'appended' | 'dropped' | 'busy'
  /** Hands the command to the leader, best effort, in the message of this number. */
  forward(command: Uint8Array): number
}

interface Pending {
  seq: number
  readonly data: Uint8Array
  readonly resolve: (r: Answer) => void
  readonly reject: (e: Error) => void
  /** Looked at on each tick: a timer for each command would cost more than the command. */
  readonly deadline: number
  sends: number
  /** The message of the last send; 0: it went into our own log. Only what is said of this one is said of that send. */
  message: number
  /** A send may have reached a log: the outcome is not known. */
  inDoubt: boolean
  /** When to send again; Infinity while it lies in our own log. */
  retryAt: number
}

/**
 * The commands of this process on their way through the log. Each is sent again after a leader change or a silence,
 * and the session table makes sure that it runs once.
 */
export class Proposals {
  readonly #host: ProposalHost
  readonly #env: Env
  readonly #retryMs: number
  readonly #maxBytes: number
  readonly #pending = new Window<Pending>(1)
  #bytes = 0
  #client: Index | undefined
  #nonce: string
  #registerAt = 0

  constructor(host: ProposalHost, env: Env, options: { retryMs: number; maxBytes: number }) {
    this.#host = host
    this.#env = env
    this.#retryMs = options.retryMs
    this.#maxBytes = options.maxBytes
    this.#nonce = this.#newNonce()
  }

  get count(): number {
    return this.#pending.size
  }

  propose(data: Uint8Array, timeoutMs: number): Promise<Answer> {
    if (this.#bytes > 0 && this.#bytes + data.length > this.#maxBytes)
      return Promise.reject(new RaftError('busy', 'too many commands are under way'))
    return new Promise((resolve, reject) => {
      const deadline = this.#env.now() + timeoutMs
      const p: Pending = {
        seq: 0,
        data,
        resolve,
        reject,
        deadline,
        sends: 0,
        message: 0,
        inDoubt: false,
        retryAt: 0,
      }
      p.seq = this.#pending.add(p)
      this.#bytes += data.length
      this.#send(p)
    })
  }

  /** The leader changed: what was sent may be lost with the old one. */
  onLeader(): void {
    this.#registerAt = 0
    this.#pending.each((p) => (p.retryAt = 0))
    this.tick()
  }

  tick(): void {
    if (this.#pending.size === 0) return
    const now = this.#env.now()
    this.#pending.each((p) => p.deadline <= now && this.#timeout(p))
    if (this.#pending.size === 0 || this.#host.leader() === NONE) return
    if (this.#client === undefined) this.#register(now)
    else this.#pending.each((p) => p.retryAt <= now && this.#send(p))
  }

  onOutcome(o: Outcome): void {
    if (o.kind === 'registered') {
      if (o.nonce !== this.#nonce || this.#client !== undefined) return
      this.#client = o.client
      this.tick()
    } else if (o.kind === 'result' && o.client === this.#client) {
      this.#settle(o.seq)?.resolve(o.answer)
    } else if (o.kind === 'expired' && o.client === this.#client) {
      this.#expire()
    }
  }

  /** A snapshot replaced the state: answers may lie in its session table without having been seen applied. */
  onRestored(sessions: Sessions): void {
    const client = this.#client
    if (client === undefined) return
    if (!sessions.has(client)) {
      this.#expire()
      return
    }
    this.#pending.each(({ seq }) => {
      const answer = sessions.answer(client, seq)
      if (answer) this.#settle(seq)?.resolve(answer)
    })
  }

  onRefused({ number, commands, certain, busy }: ProposeRefused): void {
    for (const raw of commands) {
      const c = decodeCommand(raw)
      const p = c.kind === 'command' && c.client === this.#client ? this.#pending.get(c.seq) : undefined
      if (p?.message === number) this.#refused(p, certain, busy)
      else if (c.kind === 'register') this.#registerAt = this.#env.now() + this.#retryMs / 10
    }
  }

  stop(error: Error): void {
    this.#pending.each(({ seq }) => this.#settle(seq)?.reject(error))
  }

  #send(p: Pending): void {
    const leader = this.#host.leader()
    if (leader === NONE) return
    if (this.#client === undefined) {
      this.#register(this.#env.now())
      return
    }
    const low = this.#pending.first
    const command = encodeCommand({ kind: 'command', client: this.#client, seq: p.seq, low, data: p.data })
    p.sends++
    if (leader !== this.#host.id) {
      p.inDoubt = true
      p.retryAt = this.#env.now() + this.#retryMs * 2 ** Math.min(p.sends - 1, 4)
      p.message = this.#host.forward(command)
      return
    }
    p.message = 0
    const result = this.#host.append(command)
    if (result === 'appended') {
      p.inDoubt = true
      p.retryAt = Infinity
    } else {
      this.#refused(p, true, result === 'busy')
    }
  }

  /** Of the last send. What became of the ones before is not known, if there were any. */
  #refused(p: Pending, certain: boolean, busy: boolean): void {
    if (certain && p.sends === 1) p.inDoubt = false
    p.retryAt = this.#env.now() + this.#retryMs / 10
    if (p.inDoubt) return
    p.sends = 0
    if (busy) this.#settle(p.seq)?.reject(new RaftError('busy', 'the leader has too much uncommitted data'))
  }

  #register(now: number): void {
    if (now < this.#registerAt) return
    this.#registerAt = now + this.#retryMs
    const command = encodeCommand({ kind: 'register', nonce: this.#nonce })
    if (this.#host.leader() !== this.#host.id) this.#host.forward(command)
    else this.#host.append(command)
  }

  /** What was sent under the lost session can never be told apart again; the rest goes under a new one. */
  #expire(): void {
    this.#client = undefined
    this.#nonce = this.#newNonce()
    this.#registerAt = 0
    this.#pending.each((p) => {
      if (p.inDoubt)
        this.#settle(p.seq)?.reject(new RaftError('timeout', 'the session expired; the outcome is unknown'))
    })
    this.tick()
  }

  #timeout(p: Pending): void {
    this.#settle(p.seq)?.reject(
      p.inDoubt
        ? new RaftError('timeout', 'no answer in time; the command may or may not take effect')
        : new RaftError('no_leader', 'no leader was found in time; the command did not take effect'),
    )
  }

  #settle(seq: number): Pending | undefined {
    const p = this.#pending.take(seq)
    if (p) this.#bytes -= p.data.length
    return p
  }

  #newNonce(): string {
    const part = () => Math.floor(this.#env.random() * 2 ** 48).toString(36)
    return `${this.#host.id}-${part()}${part()}`
  }
}
