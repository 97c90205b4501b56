import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'

const Profile = z.strictObject({
  /** The cluster's id: signing in to the same cluster again replaces its profile. */
  id: z.string().min(1),
  name: z.string(),
  addresses: z.array(z.string()).min(1),
  /** PEM; the only authority trusted for this cluster. Absent for plain HTTP on this machine. */
  ca: z.string().optional(),
  fingerprint: z.string().optional(),
})
export type Profile = z.infer<typeof Profile>

const Profiles = z.strictObject({
  version: z.literal(1),
  current: z.string().optional(),
  profiles: z.array(Profile),
})
type Profiles = z.infer<typeof Profiles>

/** The clusters this desktop knows, in one private file. Sign-ins are not in it: they live as long as the app. */
export class ProfileStore {
  readonly #file: string
  #data: Profiles
  private constructor(file: string, data: Profiles) {
    this.#file = file
    this.#data = data
  }

  /** A damaged file is set aside, not overwritten: it may hold what a person wants back. */
  static async open(file: string): Promise<ProfileStore> {
    const text = await readFile(file, 'utf8').catch(() => undefined)
    if (text === undefined) return new ProfileStore(file, { version: 1, profiles: [] })
    const parsed = Profiles.safeParse(parseJson(text))
    if (parsed.success) return new ProfileStore(file, parsed.data)
    await rename(file, `${file}.damaged`)
    return new ProfileStore(file, { version: 1, profiles: [] })
  }

  get all(): readonly Profile[] {
    return this.#data.profiles
  }
  get current(): Profile | undefined {
    return this.#data.profiles.find((p) => p.id === this.#data.current)
  }

  async put(profile: Profile, makeCurrent: boolean): Promise<void> {
    const others = this.#data.profiles.filter((p) => p.id !== profile.id)
    const current = makeCurrent ? profile.id : this.#data.current
    await this.#save({
      version: 1,
      ...(current === undefined ? {} : { current }),
      profiles: [...others, profile],
    })
  }

  /** Answers whether there is such a profile. */
  async use(id: string): Promise<boolean> {
    if (!this.#data.profiles.some((p) => p.id === id)) return false
    await this.#save({ ...this.#data, current: id })
    return true
  }

  async remove(id: string): Promise<void> {
    const profiles = this.#data.profiles.filter((p) => p.id !== id)
    const { current, ...rest } = { ...this.#data, profiles }
    await this.#save(current === undefined || current === id ? rest : { ...rest, current })
  }

  /** Written beside and renamed: a crash leaves the old file or the new one. */
  async #save(data: Profiles): Promise<void> {
    await mkdir(path.dirname(this.#file), { recursive: true, mode: 0o700 })
    const beside = `${this.#file}.${randomBytes(6).toString('hex')}`
    try {
      await writeFile(beside, JSON.stringify(data, null, 2) + '\n', { mode: 0o600, flag: 'wx' })
      await rename(beside, this.#file)
    } catch (error) {
      await rm(beside, { force: true })
      throw error
    }
    this.#data = data
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
