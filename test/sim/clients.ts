import { RaftError, type NodeId } from '../../raft/types.ts'
import type { KeyValueInput, KeyValueOutput } from '../history/key-value.ts'
import { recordHistory, type UnderWay } from '../history/record.ts'
import type { Invariants } from './invariants.ts'
import type { Machine } from './machine.ts'
import { encode, type Command } from './register.ts'
import type { World } from './world.ts'

type Input = KeyValueInput
type Attempt =
  | { readonly outcome: 'answered'; readonly output: KeyValueOutput }
  | { readonly outcome: 'refused' | 'unknown' }

/** Refusals that mean: it certainly did not run and never will. */
const REFUSALS = new Set(['busy', 'no_leader', 'too_large'])
const KEYS = 6
/** Chance per operation that a crowd comes with it. */
const CROWDED = 0.03

/** Concurrent clients that ask any member, and write down what they are told. */
export class Clients {
  readonly #world: World
  readonly #machines: ReadonlyMap<NodeId, Machine>
  readonly #invariants: Invariants
  readonly #history = recordHistory<Input, KeyValueOutput>()
  /** What each client last saw of a key: a guess for its next cas. */
  #values = 0
  #clients = 0
  running = true
  /** Now and then many ask one member at once, of whom some may be told that it is busy. */
  crowds = false
  /** Operations begun; those of them that were answered. */
  operations = 0
  answered = 0

  constructor(world: World, machines: ReadonlyMap<NodeId, Machine>, invariants: Invariants) {
    this.#world = world
    this.#machines = machines
    this.#invariants = invariants
  }

  get history() {
    return this.#history.operations()
  }

  /** One client: an operation at a time, until it gives one up; then another client takes its place. */
  start(thinkMs: number): void {
    const client = ++this.#clients
    const seen = new Map<string, string | null>()
    const { workload } = this.#world.rng
    const next = () => {
      this.#world.clock.schedule(workload.float() * 2 * thinkMs, () => {
        if (!this.running) return
        void this.#operation(client, seen).then((known) => (known ? next() : this.start(thinkMs)))
      })
    }
    next()
  }

  /** Every member must answer, and all must say the same. */
  async readAll(ids: readonly NodeId[]): Promise<boolean> {
    const all = ids.flatMap((id) => Array.from({ length: KEYS }, (_, k) => [id, `k${k}`] as const))
    const results = await Promise.all(
      all.map(async ([id, key]) => {
        const client = ++this.#clients
        return this.#run(client, { kind: 'get', key }, () => this.#machines.get(id))
      }),
    )
    return results.every((r) => r.outcome === 'answered')
  }

  async writeThrough(id: NodeId): Promise<boolean> {
    const input: Input = {
      kind: 'put',
      key: `k${this.#world.rng.workload.int(KEYS)}`,
      value: this.#newValue(),
    }
    const result = await this.#run(++this.#clients, input, () => this.#machines.get(id))
    return result.outcome === 'answered'
  }

  async #operation(client: number, seen: Map<string, string | null>): Promise<boolean> {
    const { workload } = this.#world.rng
    const machines = [...this.#machines.values()].filter((m) => m.state !== 'retired' && m.state !== 'broken')
    const machine = workload.pick(machines)
    if (machine && this.crowds && workload.chance(CROWDED)) this.#crowd(machine, 3 + workload.int(6))
    const result = await this.#run(client, this.#input(seen), () => machine, seen)
    return result.outcome !== 'unknown'
  }

  /** Others ask the same member at the same time: their commands share messages, and may be too many. */
  #crowd(m: Machine, count: number): void {
    this.#world.count('some crowd of clients')
    for (let i = 0; i < count; i++) {
      const key = `k${this.#world.rng.workload.int(KEYS)}`
      void this.#run(++this.#clients, { kind: 'put', key, value: this.#newValue() }, () => m)
    }
  }

  #input(seen: ReadonlyMap<string, string | null>): Input {
    const { workload } = this.#world.rng
    const key = `k${workload.int(KEYS)}`
    const dice = workload.float()
    if (dice < 0.4) return { kind: 'get', key }
    if (dice < 0.7) return { kind: 'put', key, value: this.#newValue() }
    return { kind: 'cas', key, expect: seen.get(key) ?? null, value: this.#newValue() }
  }

  #newValue(): string {
    return `v${++this.#values}`
  }

  async #run(
    client: number,
    input: Input,
    choose: () => Machine | undefined,
    seen?: Map<string, string | null>,
  ): Promise<Attempt> {
    const record = this.#history.call(client, input)
    this.operations++
    let result = await this.#attempt(choose(), input)
    // Values are written once each, so a cas that ran finds its own value in the way of the second try: only "done" of
    // a repeated one says something.
    for (let tries = 1; tries < 3 && input.kind === 'cas' && result.outcome === 'unknown'; tries++) {
      if (!this.#world.rng.workload.chance(0.5)) break
      this.#world.count('some command repeated through another member')
      const again = await this.#attempt(choose(), input)
      if (again.outcome === 'answered' && again.output.done) result = again
    }
    this.#end(record, input, result, seen)
    return result
  }

  #end(
    record: UnderWay<KeyValueOutput>,
    input: Input,
    result: Attempt,
    seen?: Map<string, string | null>,
  ): void {
    this.#world.trace(() => `client ${JSON.stringify(input)} ${JSON.stringify(result)}`)
    this.#world.count(`operation ${result.outcome}`)
    if (result.outcome === 'answered') {
      this.answered++
      record.answered(result.output)
      if (input.kind === 'get') seen?.set(input.key, result.output.value ?? null)
      else if (input.kind === 'put' || result.output.done)
        seen?.set(input.key, 'value' in input ? input.value : null)
    } else if (result.outcome === 'refused') record.refused()
    else record.unknown()
  }

  /** Over a connection to one member: it takes time both ways, and ends with the process at its other end. */
  async #attempt(m: Machine | undefined, input: Input): Promise<Attempt> {
    const { clock, rng } = this.#world
    await clock.sleep(rng.workload.float() * 3)
    const life = m?.life
    if (!m || !life?.alive || m.state !== 'up') {
      await clock.sleep(20)
      return { outcome: 'refused' }
    }
    const timeoutMs = rng.workload.between(300, 4000)
    this.#world.trace(() => `client asks ${m.id} ${JSON.stringify(input)}`)
    return new Promise((resolve) => {
      const answer = (a: Attempt) => clock.schedule(rng.workload.float() * 3, () => resolve(a))
      clock.schedule(timeoutMs * 1.5 + 50, () => resolve({ outcome: 'unknown' }))
      life.onDeath(() => answer({ outcome: 'unknown' }))
      life.enter(() => void this.#ask(m, input, timeoutMs).then(answer))
    })
  }

  /** Runs in the member's process. */
  async #ask(m: Machine, input: Input, timeoutMs: number): Promise<Attempt> {
    const { driver, registers } = m
    if (!driver || !registers) return { outcome: 'refused' }
    try {
      if (input.kind === 'get') {
        const { committed } = this.#invariants
        const index = await driver.barrier({ timeoutMs })
        this.#world.check(
          index >= committed,
          () => `stale read through ${m.id}: at ${index}, but ${committed} was committed before it began`,
        )
        return { outcome: 'answered', output: { value: registers.get(input.key) } }
      }
      const command = encode(toCommand(input))
      const { index, result } = await driver.propose(command, { timeoutMs })
      this.#invariants.acknowledged(index, command)
      const done = JSON.parse(Buffer.from(result).toString()) as boolean
      return { outcome: 'answered', output: input.kind === 'cas' ? { done } : {} }
    } catch (e) {
      if (!(e instanceof RaftError)) this.#world.fail(`a client was told ${String(e)}`)
      if (e instanceof RaftError && e.code === 'busy') this.#world.count('some client told busy')
      if (String(e).includes('session expired')) this.#world.count('some session expired')
      const refused = e instanceof RaftError && (input.kind === 'get' || REFUSALS.has(e.code))
      return { outcome: refused ? 'refused' : 'unknown' }
    }
  }
}

function toCommand(input: Input): Command {
  if (input.kind === 'put') return ['put', input.key, input.value]
  if (input.kind === 'cas' && 'expect' in input) return ['cas', input.key, input.expect, input.value]
  throw new RangeError(`${input.kind} is no command`)
}
