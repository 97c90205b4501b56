import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DriverOptions } from '../../raft/index.ts'
import { Child } from '../child.ts'
import type { MemberConfig, MemberStats } from './member.ts'
import type { Address } from './transport.ts'

const file = fileURLToPath(new URL('member.ts', import.meta.url))

export interface MembersOptions {
  readonly dir: string
  /** Where each member runs; default: three on loopback. */
  readonly places?: readonly Place[]
  readonly options?: Partial<DriverOptions>
  /** Options of Node itself, for profiles. */
  readonly node?: string[]
}

/** An address to listen at, and how to run a command line there. */
export interface Place {
  readonly host: string
  readonly inside?: (line: string[]) => string[]
}

export const loopback: Place = { host: '127.0.0.1' }

export async function freePorts(n: number, host = '127.0.0.1'): Promise<number[]> {
  const servers = Array.from({ length: n }, () => createServer().listen(0, host))
  await Promise.all(servers.map((s) => new Promise((resolve) => s.once('listening', resolve))))
  const ports = servers.map((s) => (s.address() as { port: number }).port)
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))))
  return ports
}

/** Polls for something that must come true; the time is its end. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const value = await check()
    if (value !== undefined && value !== false) return value
    if (performance.now() > end) throw new Error(`waited ${timeoutMs / 1000} s in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** The members of one cluster, each a process. */
export class MemberProcesses {
  readonly #configs = new Map<number, MemberConfig>()
  readonly #places = new Map<number, Place>()
  readonly #children = new Map<number, Child>()
  readonly #node: string[]

  private constructor(node: string[]) {
    this.#node = node
  }

  static async start(o: MembersOptions): Promise<MemberProcesses> {
    const all = new MemberProcesses(o.node ?? [])
    const places = o.places ?? [loopback, loopback, loopback]
    const voters = places.map((_, i) => i + 1)
    // One more than founds: somebody may join.
    const ids = [...voters, voters.length + 1]
    const ports = await freePorts(ids.length * 2)
    const address = (id: number, offset: number): Address => ({
      host: (places[id - 1] ?? loopback).host,
      port: ports[2 * (id - 1) + offset] as number,
    })
    const peers = Object.fromEntries(ids.map((id) => [id, address(id, 0)]))
    for (const id of ids) {
      const dir = path.join(o.dir, `member-${id}`)
      all.#configs.set(id, {
        dir,
        id,
        peers,
        client: address(id, 1),
        voters: voters.includes(id) ? voters : [],
        ...(o.options && { options: o.options }),
      })
      all.#places.set(id, places[id - 1] ?? loopback)
    }
    for (const id of voters) await all.run(id)
    await all.leader()
    return all
  }

  get ids(): number[] {
    return [...this.#children.keys()].filter((id) => this.#children.get(id)?.running)
  }

  /** Starts a member, or one that was killed again. */
  async run(id: number): Promise<void> {
    const config = this.config(id)
    await mkdir(config.dir, { recursive: true })
    const inside = this.#places.get(id)?.inside
    this.#children.set(id, new Child(file, config, { ...(inside && { inside }), node: this.#node }))
    await this.stats(id)
  }

  config(id: number): MemberConfig {
    const config = this.#configs.get(id)
    if (!config) throw new Error(`there is no member ${id}`)
    return config
  }

  child(id: number): Child {
    const child = this.#children.get(id)
    if (!child) throw new Error(`member ${id} does not run`)
    return child
  }

  stats(id: number): Promise<MemberStats> {
    return this.child(id).ask('stats')
  }

  allStats(): Promise<MemberStats[]> {
    return Promise.all(this.ids.map((id) => this.stats(id)))
  }

  /** The leader that all of them know. */
  leader(among?: readonly number[]): Promise<number> {
    return until('a leader that all members know', async () => {
      const all = await Promise.all((among ?? this.ids).map((id) => this.stats(id)))
      const leader = all.find((s) => s.role === 'leader')?.id
      return leader !== undefined && all.every((s) => s.leader === leader) && leader
    })
  }

  async stop(): Promise<void> {
    for (const child of this.#children.values()) await child.kill('SIGKILL')
  }
}
