import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ProblemError } from '../../../contract/index.ts'
import { formatAddress, parseAddress } from '../identity/address.ts'
import { hasCode, writeFileDurably } from '../identity/files.ts'
import type { Log } from './tls.ts'

const overridesFile = 'peers.json'
const learnedFile = 'peers-learned.json'

const MemberKey = z.string().regex(/^[1-9][0-9]*$/, 'expected a member number')
const Address = z.string().refine((text) => parseAddress(text) !== undefined, 'expected HOST:PORT')
const Overrides = z.record(MemberKey, Address)
const Learned = z.record(MemberKey, z.array(Address).max(8))

export interface AddressBookOptions {
  /** The agent's data folder. */
  readonly data: string
  /** Addresses by member as the replicated state has them. */
  readonly state: () => ReadonlyMap<number, string>
  readonly log: Log
}

/**
 * Where members may be reached, best first: what an admin set here, what members announced when they last connected,
 * what the state says. None is trusted: whoever answers must prove the member by its certificate.
 */
export class AddressBook {
  readonly #options: AddressBookOptions
  readonly #learned: Map<number, readonly string[]>
  /** What others say they learned: worth a try when nothing else answers. Not kept, since it is second-hand. */
  readonly #hints = new Map<number, readonly string[]>()
  readonly #listeners = new Set<(member: number) => void>()
  #overrides: ReadonlyMap<number, string> = new Map()
  #overridesStamp = ''
  #saving: Promise<void> = Promise.resolve()
  #dirty = false

  private constructor(options: AddressBookOptions, learned: Map<number, readonly string[]>) {
    this.#options = options
    this.#learned = learned
  }

  static async open(options: AddressBookOptions): Promise<AddressBook> {
    const found = await read(join(options.data, learnedFile), Learned).catch((error: unknown) => {
      // Only hints, learned again with the next connection.
      options.log.warn({ error: String(error) }, 'learned addresses are unreadable and forgotten')
    })
    const book = new AddressBook(options, byMember(found))
    await book.#refresh()
    return book
  }

  /** What a host is told when it joins, before it has any state of its own. */
  static async seed(data: string, peers: readonly { member: number; address: string }[]): Promise<void> {
    const learned = Object.fromEntries(peers.map(({ member, address }) => [member, [address]]))
    await writeFileDurably(join(data, learnedFile), JSON.stringify(learned, null, 2) + '\n')
  }

  /** All addresses worth trying, best first. */
  async of(member: number): Promise<string[]> {
    await this.#refresh()
    const all = [
      this.#overrides.get(member),
      ...(this.#learned.get(member) ?? []),
      this.#options.state().get(member),
      ...(this.#hints.get(member) ?? []),
    ]
    return [...new Set(all.filter((address) => address !== undefined))]
  }

  /**
   * A member proved itself on a connection: what it announced, and where it came from. The second helps where the
   * announcement is out of date, as when its host got a new address while it ran.
   */
  learn(member: number, announced: string, from?: string): void {
    const port = parseAddress(announced)?.port
    if (port === undefined) return
    const seen = from === undefined ? [] : [formatAddress(from.replace(/^::ffff:/, ''), port)]
    const known = this.#learned.get(member) ?? []
    // A host with several addresses comes now from one, now from another: that is no news.
    if (known[0] === announced && seen.every((address) => known.includes(address))) return
    const addresses = [...new Set([announced, ...seen, ...known])].slice(0, 4)
    this.#learned.set(member, addresses)
    this.#save()
    for (const listener of this.#listeners) listener(member)
  }

  /** What this agent learned at first hand, for others to try. */
  learned(): ReadonlyMap<number, string> {
    return new Map([...this.#learned].flatMap(([member, [address]]) => (address ? [[member, address]] : [])))
  }

  /** Another member reached this one there. When all hosts moved at once, no two need to be introduced by hand. */
  hint(member: number, address: string): void {
    const hints = this.#hints.get(member) ?? []
    const known = [...hints, ...(this.#learned.get(member) ?? []), this.#options.state().get(member)]
    // Several others may each say something else, again every second: only what is new is news.
    if (!parseAddress(address) || known.includes(address)) return
    this.#hints.set(member, [address, ...hints].slice(0, 3))
    for (const listener of this.#listeners) listener(member)
  }

  /** Called when there is another address to try than before. */
  onLearned(listener: (member: number) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Everything learned is on disk. */
  async saved(): Promise<void> {
    await this.#saving
  }

  /** Writes follow each other, and what is learned meanwhile shares the next one. */
  #save(): void {
    if (this.#dirty) return
    this.#dirty = true
    this.#saving = this.#saving.then(async () => {
      this.#dirty = false
      const text = JSON.stringify(Object.fromEntries(this.#learned), null, 2) + '\n'
      await writeFileDurably(join(this.#options.data, learnedFile), text).catch((error: unknown) => {
        this.#options.log.warn({ error: String(error) }, 'learned addresses could not be saved')
      })
    })
  }

  /** `submarine agent set-peer` writes the file beside a running agent, which looks at it before each connection. */
  async #refresh(): Promise<void> {
    const path = join(this.#options.data, overridesFile)
    try {
      const stamp = await stampOf(path)
      if (stamp === this.#overridesStamp) return
      this.#overridesStamp = stamp
      this.#overrides = byMember(await read(path, Overrides))
    } catch (error) {
      this.#options.log.warn(
        { error: String(error) },
        `${path} is unreadable; what it said before still counts`,
      )
    }
  }
}

/** `submarine agent set-peer MEMBER HOST:PORT`: where this agent shall look for a member first; undefined takes it back. */
export async function setPeer(data: string, member: number, address: string | undefined): Promise<void> {
  if (!Number.isSafeInteger(member) || member < 1)
    throw new ProblemError('invalid_request', `expected a member number, not ${member}`)
  if (address !== undefined && !parseAddress(address))
    throw new ProblemError('invalid_request', `expected HOST:PORT, not ${address}`)
  const path = join(data, overridesFile)
  const overrides = byMember(await read(path, Overrides))
  if (address === undefined) overrides.delete(member)
  else overrides.set(member, address)
  await writeFileDurably(path, JSON.stringify(Object.fromEntries(overrides), null, 2) + '\n')
}

async function read<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw new Error(`${path}: ${error instanceof z.ZodError ? z.prettifyError(error) : String(error)}`, {
      cause: error,
    })
  }
}

const byMember = <T>(record: Record<string, T> | undefined | void): Map<number, T> =>
  new Map(Object.entries(record ?? {}).map(([member, value]) => [Number(member), value]))

/** Changes with every rename over the file, even within the clock's grain. */
async function stampOf(path: string): Promise<string> {
  try {
    const { ino, mtimeMs, size } = await stat(path)
    return `${ino}:${mtimeMs}:${size}`
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return ''
    throw error
  }
}
