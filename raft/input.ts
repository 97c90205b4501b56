import { Arrivals, Outbox } from './forwards.ts'
import type { Member } from './member.ts'
import type { Proposals } from './proposals.ts'
import type { Sender } from './sender.ts'
import type { Snapshots } from './snapshots.ts'
import type { SnapshotBytes } from './store.ts'
import { NONE, RaftError, type Message, type ProposeMessage, type SnapshotMessage } from './types.ts'

/** What comes in from other members, and the commands that leave for the leader. */
export class Input {
  readonly #m: Member
  readonly #proposals: Proposals
  readonly #snapshots: Snapshots
  readonly #sender: Sender
  readonly #outbox: Outbox
  readonly #arrivals = new Arrivals()
  /** Random: whoever restarts must not be taken for who it was. */
  readonly #origin: number

  constructor(m: Member, proposals: Proposals, snapshots: Snapshots, sender: Sender) {
    this.#m = m
    this.#proposals = proposals
    this.#snapshots = snapshots
    this.#sender = sender
    this.#outbox = new Outbox(m.options.maxMessageBytes)
    this.#origin = Math.floor(m.env.random() * 2 ** 48)
  }

  onMessage(m: Message): void {
    if (this.#m.stopped) return
    this.#m.metrics.messagesIn++
    this.#m.guard(() => {
      if (m.type === 'propose') this.#onForwarded(m)
      else if (m.type === 'proposeRefused') this.#proposals.onRefused(m)
      // A snapshot message without its data is nothing to act on.
      else if (m.type !== 'snapshot') this.#m.node.step(m)
    })
    this.#m.schedule()
  }

  async onSnapshot(m: SnapshotMessage, data: SnapshotBytes): Promise<void> {
    if (this.#m.stopped) throw new RaftError('stopped', 'the member does not run any more')
    await this.#snapshots.receive(m, data)
    this.#m.guard(() => this.#m.node.step(m))
    this.#m.schedule()
  }

  #onForwarded(m: ProposeMessage): void {
    const { node } = this.#m
    if (node.role !== 'leader' || node.term !== m.term) {
      // A first copy may have met the leader that is meant.
      this.#refuse(m, m.commands, { certain: false, busy: false })
      return
    }
    if (!this.#arrivals.first(m)) return
    const refused = { dropped: [] as Uint8Array[], busy: [] as Uint8Array[] }
    for (const c of m.commands) {
      const result = node.propose(c)
      if (typeof result === 'string') refused[result].push(c)
      else this.#sender.awaits(m.from, result.index)
    }
    this.#refuse(m, refused.dropped, { certain: true, busy: false })
    this.#refuse(m, refused.busy, { certain: true, busy: true })
  }

  #refuse(
    { from: to, number }: ProposeMessage,
    commands: readonly Uint8Array[],
    how: { certain: boolean; busy: boolean },
  ): void {
    if (commands.length === 0) return
    this.#m.send([{ type: 'proposeRefused', from: this.#m.o.id, to, term: 0, number, commands, ...how }])
  }

  /** Returns the number of the message in which the command leaves. */
  forward(command: Uint8Array): number {
    return this.#outbox.add(command)
  }

  sendForwards(): void {
    const messages = this.#outbox.take()
    const { leader: to, term } = this.#m.node
    const from = this.#m.o.id
    if (to === NONE || to === from) return // they are sent again later
    for (const { number, commands } of messages)
      this.#m.send([{ type: 'propose', from, to, term, origin: this.#origin, number, commands }])
  }
}
