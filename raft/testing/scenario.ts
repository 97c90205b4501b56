import { decodeConfChange } from '../codec.ts'
import { describeConf, describeEntry, describeMessage, describePeer, describeReady } from '../describe.ts'
import { MemoryStore } from '../memory-store.ts'
import { RaftNode, type Ready } from '../node.ts'
import {
  EMPTY_CONF,
  RaftError,
  defaultRaftConfig,
  type ConfChangeItem,
  type ConfState,
  type Entry,
  type Message,
  type NodeId,
  type RaftConfig,
} from '../types.ts'

interface Member {
  readonly id: NodeId
  store: MemoryStore
  node: RaftNode
  /** Taken and not stored yet. */
  writing: Ready | undefined
  /** Handed out and not applied yet. */
  applying: Entry[]
  /** The state machine: the commands in their order. */
  commands: string[]
  /** Its log lags behind the disk: ready and settle leave its writes alone. */
  slow: boolean
}

const BASE = 1
const LIMITS = {
  window: 'maxInflightMessages',
  windowBytes: 'maxInflightBytes',
  messageBytes: 'maxMessageBytes',
  uncommittedBytes: 'maxUncommittedBytes',
  applyingBytes: 'maxApplyingBytes',
} as const satisfies Record<string, keyof RaftConfig>

/** Members and the messages between them, moved by commands. scenarios/README.md explains those. */
export class Scenario {
  readonly #members = new Map<NodeId, Member>()
  readonly #cut = new Set<NodeId>()
  #network: Message[] = []
  /** Every snapshot ever taken: the bytes travel apart from the message. */
  readonly #images = new Map<number, Uint8Array>()
  #config: Partial<RaftConfig> = {}
  #out: string[] = []

  /** What a command answers, line by line. */
  run(line: string): string[] {
    const words = line.split(/\s+/)
    const quiet = words[0] === 'quietly'
    if (quiet) words.shift()
    const [name = '', ...args] = words
    this.#out = []
    const command = this.#commands[name]
    if (!command)
      throw new Error(`there is no command "${name}"; there are ${Object.keys(this.#commands).join(', ')}`)
    command(args)
    return quiet ? [] : this.#out
  }

  readonly #commands: Readonly<Record<string, (args: string[]) => void>> = {
    limits: (args) => this.#limits(args),
    founders: (args) => this.#found(args),
    stored: ([id, ...terms]) => this.#stored(this.#get(id), terms.map(Number)),
    join: ([id]) => this.#start(Number(id), new MemoryStore(EMPTY_CONF)),
    campaign: ([id]) => this.#get(id).node.campaign(),
    tick: ([id, count = '1']) => {
      for (let i = 0; i < Number(count); i++) this.#get(id).node.tick()
    },
    timeout: ([id, ticks]) => void (this.#get(id).node.electionTimeout = Number(ticks)),
    propose: ([id, ...data]) => data.forEach((d) => this.#propose(this.#get(id), d)),
    change: ([id, ...items]) => this.#change(this.#get(id), items),
    read: ([id, name = '']) => {
      if (!this.#get(id).node.readIndex(name)) this.#out.push('no leader to ask')
    },
    transfer: ([id, to]) => this.#get(id).node.transferTo(Number(to)),
    forget: ([id]) => this.#get(id).node.forgetLeader(),
    unreachable: ([id, peer]) => this.#get(id).node.reportUnreachable(Number(peer)),
    sent: ([id, peer, how]) => this.#get(id).node.reportSnapshot(Number(peer), how === 'ok'),
    ready: (ids) => ids.forEach((id) => this.#ready(this.#get(id))),
    slow: (ids) => ids.forEach((id) => (this.#get(id).slow = true)),
    write: ([id]) => this.#write(this.#get(id)),
    apply: ([id]) => this.#apply(this.#get(id)),
    deliver: (args) => this.#take(args).forEach((m) => this.#deliver(m)),
    duplicate: (args) => this.#peek(args).forEach((m) => this.#deliver(m)),
    drop: (args) => this.#take(args).forEach((m) => this.#out.push(`lost ${describeMessage(m)}`)),
    network: () => this.#out.push(...this.#network.map(describeMessage)),
    cut: (ids) => ids.forEach((id) => this.#cut.add(Number(id))),
    heal: (ids) => ids.forEach((id) => this.#cut.delete(Number(id))),
    settle: (ids) =>
      this.#settle(ids.length > 0 ? ids.map((id) => this.#get(id)) : [...this.#members.values()]),
    snapshot: ([id, index]) => this.#snapshot(this.#get(id), Number(index)),
    crash: ([id]) => this.#crash(this.#get(id)),
    state: (ids) => this.#each(ids).forEach((m) => this.#state(m)),
    progress: ([id]) => this.#progress(this.#get(id)),
    log: (ids) => this.#each(ids).forEach((m) => this.#log(m)),
    machine: (ids) => this.#each(ids).forEach((m) => this.#out.push(`${m.id} ${m.commands.join(' ')}`)),
  }

  #get(id: string | undefined): Member {
    const member = this.#members.get(Number(id))
    if (!member) throw new Error(`there is no member "${id}"`)
    return member
  }
  #each(ids: string[]): Member[] {
    return ids.length > 0 ? ids.map((id) => this.#get(id)) : [...this.#members.values()]
  }

  // ---- members

  #limits(args: string[]): void {
    for (const arg of args) {
      const [name = '', value] = arg.split('=')
      if (!(name in LIMITS))
        throw new Error(`there is no limit "${name}"; there are ${Object.keys(LIMITS).join(', ')}`)
      this.#config = { ...this.#config, [LIMITS[name as keyof typeof LIMITS]]: Number(value) }
    }
  }

  /** `founders 1 2 3 learners 4` */
  #found(args: string[]): void {
    const at = args.indexOf('learners')
    const voters = (at < 0 ? args : args.slice(0, at)).map(Number)
    const learners = at < 0 ? [] : args.slice(at + 1).map(Number)
    const conf: ConfState = { ...EMPTY_CONF, voters, learners }
    for (const id of [...voters, ...learners]) this.#start(id, new MemoryStore(conf))
  }

  #start(id: NodeId, store: MemoryStore): void {
    const { index } = store.initial()
    const config = { ...defaultRaftConfig, ...this.#config, id, applied: index }
    // No chance: everybody times out after electionTicks exactly, unless told otherwise.
    const node = new RaftNode(config, store, () => 0)
    const commands = store.image.length > 0 ? Buffer.from(store.image).toString().split(' ') : []
    this.#members.set(id, { id, store, node, writing: undefined, applying: [], commands, slow: false })
  }

  /** Starts the member with a log of these terms behind the founders' entry. */
  #stored({ id, store }: Member, terms: number[]): void {
    const entries = terms.map((term, i): Entry => ({
      term,
      index: BASE + 1 + i,
      kind: 'normal',
      data: Buffer.from('x'),
    }))
    const fresh = new MemoryStore(store.initial().conf)
    fresh.appendNow(entries, { term: Math.max(BASE, ...terms), vote: 0, commit: BASE }, true)
    this.#start(id, fresh)
  }

  #crash(m: Member): void {
    this.#start(m.id, m.store.crashed())
  }

  // ---- input

  #propose(m: Member, data: string): void {
    const result = m.node.propose(Buffer.from(data))
    this.#out.push(
      typeof result === 'string' ? `${data}: ${result}` : `${data}: at ${result.term}/${result.index}`,
    )
  }

  /** `change 1 voter 4 remove 2`; without items it leaves a joint configuration. */
  #change(m: Member, words: string[]): void {
    const changes: ConfChangeItem[] = []
    for (let i = 0; i < words.length; i += 2)
      changes.push({ type: words[i] as ConfChangeItem['type'], id: Number(words[i + 1]) })
    try {
      const { term, index } = m.node.proposeConf({ changes })
      this.#out.push(`at ${term}/${index}`)
    } catch (e) {
      if (!(e instanceof RaftError)) throw e
      this.#out.push(`${e.code}: ${e.message}`)
    }
  }

  #snapshot(m: Member, compact: number): void {
    const { appliedIndex: index } = m.node
    const image = Buffer.from(m.commands.join(' ') || '-')
    this.#images.set(index, image)
    m.store.createNow({ index, term: m.store.term(index) ?? 0, conf: m.node.conf }, image)
    m.store.compactNow(compact)
  }

  // ---- work

  /** All that is ready, written and applied at once. */
  #ready(m: Member): boolean {
    let any = false
    while (m.node.hasReady(!m.writing)) {
      any = true
      this.#begin(m)
      if (!m.slow) {
        this.#write(m)
        this.#apply(m)
      }
    }
    return any
  }

  #begin(m: Member): void {
    const ready = m.node.ready(!m.writing)
    for (const line of describeReady(ready).split('\n')) if (line) this.#out.push(`${m.id} ${line}`)
    if (ready.persist) m.writing = ready
    m.applying.push(...ready.committed)
    this.#network.push(...ready.messages)
    if (m.node.takeSnapshotWanted()) this.#out.push(`${m.id} needs a newer snapshot`)
  }

  #write(m: Member): void {
    const ready = m.writing
    if (!ready) return
    m.writing = undefined
    const { snapshot, hard, entries, mustSync } = ready
    if (snapshot) {
      const image = this.#images.get(snapshot.index) ?? Buffer.from('-')
      m.store.installNow(snapshot, image, hard)
      m.commands = Buffer.from(image).toString().split(' ')
    }
    m.store.appendNow(entries, hard, mustSync)
    m.node.persisted(ready)
    this.#network.push(...ready.afterSync.filter((x) => x.to !== m.id))
  }

  #apply(m: Member): void {
    for (const e of m.applying) {
      if (e.kind === 'normal' && e.data.length > 0) m.commands.push(Buffer.from(e.data).toString())
      if (e.kind !== 'config') continue
      const before = m.node.conf
      const conf = m.node.applyConf(decodeConfChange(e.data))
      this.#out.push(`${m.id} ${conf === before ? 'no change' : describeConf(conf)}`)
    }
    const last = m.applying.at(-1)
    m.applying = []
    if (last && last.index > m.node.appliedIndex) m.node.applied(last.index)
  }

  #settle(members: Member[]): void {
    const among = new Set(members.map((m) => m.id))
    for (let turn = 0; ; turn++) {
      if (turn > 1000) throw new Error('it does not settle')
      const worked = members.filter((m) => this.#ready(m)).length > 0
      const due = this.#network.filter((m) => among.has(m.to))
      this.#network = this.#network.filter((m) => !among.has(m.to))
      for (const m of due) this.#deliver(m)
      if (!worked && due.length === 0) return
    }
  }

  // ---- network

  #deliver(m: Message): void {
    if (this.#cut.has(m.from) || this.#cut.has(m.to)) return
    this.#out.push(describeMessage(m))
    this.#members.get(m.to)?.node.step(m)
  }

  /** Messages on their way, picked by words such as `1->2`, `->2`, `1->`, a type, or `first`. */
  #peek(words: string[]): Message[] {
    const fits = (m: Message, word: string): boolean => {
      const [from, to] = word.split('->')
      if (to === undefined) return word === 'first' || m.type === word
      return (from === '' || m.from === Number(from)) && (to === '' || m.to === Number(to))
    }
    const found = this.#network.filter((m) => words.every((w) => fits(m, w)))
    return words.includes('first') ? found.slice(0, 1) : found
  }
  #take(words: string[]): Message[] {
    const taken = new Set(this.#peek(words))
    this.#network = this.#network.filter((m) => !taken.has(m))
    return [...taken]
  }

  // ---- looking

  #state({ id, node }: Member): void {
    const { role, leader, term, commit, applied, lastIndex, conf } = node.status()
    const known = `term=${term} vote=${node.vote} leader=${leader}`
    this.#out.push(
      `${id} ${role} ${known} commit=${commit} applied=${applied} last=${lastIndex} ${describeConf(conf)}`,
    )
  }
  #progress({ node }: Member): void {
    for (const [id, pr] of node.status().progress) this.#out.push(`${id} ${describePeer(pr)}`)
  }
  #log({ id, node }: Member): void {
    const { firstIndex } = node.status()
    const before = firstIndex > BASE + 1 ? [`…${firstIndex - 1}`] : []
    this.#out.push(`${id} ${[...before, ...node.entries().map(describeEntry)].join(', ') || 'empty'}`)
  }
}

/** Runs a script of prose, commands and what they answer; gives it back with what they really answer. */
export function replay(script: string): string {
  const scenario = new Scenario()
  const out: string[] = []
  for (const line of script.split('\n')) {
    if (line.startsWith('  ')) continue
    out.push(line)
    if (!line.startsWith('> ')) continue
    try {
      out.push(...scenario.run(line.slice(2).trim()).map((x) => `  ${x}`))
    } catch (e) {
      out.push(`  ${String(e)}`)
    }
  }
  return out.join('\n')
}
