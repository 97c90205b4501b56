import type { Member } from './member.ts'
import type { Proposals } from './proposals.ts'
import type { Sender } from './sender.ts'
import type { Snapshots } from './snapshots.ts'
import type { SnapshotBytes } from './store.ts'
import { NONE, RaftError, type Message, type NodeId, type SnapshotMessage } from './types.ts'

/** What comes in from other members, and the commands that leave for the leader. */
export class Input {
  readonly #m: Member
  readonly #proposals: Proposals
  readonly #snapshots: Snapshots
  readonly #sender: Sender
  /** Commands for the leader, collected so that those of a moment share a message. */
  #outbox: Uint8Array[] = []

  constructor(m: Member, proposals: Proposals, snapshots: Snapshots, sender: Sender) {
    this.#m = m
    this.#proposals = proposals
    this.#snapshots = snapshots
    this.#sender = sender
  }

  onMessage(m: Message): void {
    if (this.#m.stopped) return
    this.#m.metrics.messagesIn++
    this.#m.guard(() => {
      if (m.type === 'propose') this.#onForwarded(m.from, m.commands)
      else if (m.type === 'proposeRefused') this.#proposals.onRefused(m.commands, m.busy)
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

  #onForwarded(from: NodeId, commands: readonly Uint8Array[]): void {
    const refused = { dropped: [] as Uint8Array[], busy: [] as Uint8Array[] }
    for (const c of commands) {
      const result = this.#m.node.propose(c)
      if (typeof result === 'string') refused[result].push(c)
      else this.#sender.awaits(from, result.index)
    }
    this.#refuse(from, refused.dropped, false)
    this.#refuse(from, refused.busy, true)
  }

  #refuse(to: NodeId, commands: readonly Uint8Array[], busy: boolean): void {
    if (commands.length === 0) return
    this.#m.send([{ type: 'proposeRefused', from: this.#m.o.id, to, term: 0, commands, busy }])
  }

  forward(command: Uint8Array): void {
    this.#outbox.push(command)
  }

  sendForwards(): void {
    if (this.#outbox.length === 0) return
    const commands = this.#outbox
    this.#outbox = []
    const to = this.#m.node.leader
    if (to === NONE || to === this.#m.o.id) return // they are sent again later
    for (const some of inMessages(commands, this.#m.options.maxMessageBytes))
      this.#m.send([{ type: 'propose', from: this.#m.o.id, to, term: 0, commands: some }])
  }
}

/** Runs of commands of at most so many bytes, or of one: all that waits after an election would be more than a frame holds. */
export function inMessages(commands: readonly Uint8Array[], maxBytes: number): Uint8Array[][] {
  const runs: Uint8Array[][] = []
  let bytes = Infinity
  for (const command of commands) {
    bytes += command.length
    if (bytes > maxBytes) {
      runs.push([])
      bytes = command.length
    }
    runs.at(-1)?.push(command)
  }
  return runs
}
