import { hash } from 'node:crypto'
import { chmod, copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises'

import path from 'node:path'
import { absent } from '../files.ts'
import { attemptKey, parseKey, taskKey } from '../key.ts'

export interface AttemptFolder {
  readonly root: string
  readonly code: string
  readonly output: string
  /** The runtime's own. */
  readonly own: string
  /** In memory: gone with the host's power, and never on a disk of ours. */
  readonly secrets: string
  /** In memory too, and for no task's eyes: where its Kerberos tickets are got. */
  readonly kinit: string
  /** Copy of the cluster's CA certificate that the task may read. */
  readonly ca: string
}

/** A file system in memory of every Linux. */
const memory = '/dev/shm'

/** The folders of attempts below the data folder: `tasks/TASK/ATTEMPT/{code,output}`. */
export class AttemptFolders {
  readonly #tasks: string
  readonly #rescued: string
  readonly #memory: string

  constructor(dataDir: string) {
    this.#tasks = path.join(dataDir, 'tasks')
    this.#memory = path.join(memory, `submarine-${hash('sha256', path.resolve(dataDir)).slice(0, 20)}`)
    this.#rescued = path.join(dataDir, 'rescued')
  }

  async open(): Promise<void> {
    // Nobody but the agent passes here, so that what lies below may be open to whatever user a container runs as.
    await mkdir(this.#tasks, { recursive: true, mode: 0o700 })
    await chmod(this.#tasks, 0o700)
  }

  of(task: string, attempt: number): AttemptFolder {
    const root = path.join(this.#tasks, taskKey(task), String(attempt))
    return {
      root,
      code: path.join(root, 'code'),
      output: path.join(root, 'output'),
      own: path.join(root, 'own'),
      secrets: path.join(this.#memory, `${taskKey(task)}.${attempt}`),
      kinit: path.join(this.#memory, `${taskKey(task)}.${attempt}.kinit`),
      ca: path.join(root, 'ca.pem'),
    }
  }

  /** New and empty: what an agent that died left half-made is thrown away. */
  async make(task: string, attempt: number, caFile: string | undefined): Promise<AttemptFolder> {
    const folder = this.of(task, attempt)
    await rm(folder.root, { recursive: true, force: true })
    for (const open of [folder.root, folder.own, folder.code, folder.output]) {
      await mkdir(open, { recursive: true })
      // Images run as users of their own, who must be able to write here; the umask must not decide.
      await chmod(open, open === folder.root || open === folder.own ? 0o755 : 0o777)
    }
    if (caFile) {
      await copyFile(caFile, folder.ca)
      await chmod(folder.ca, 0o644)
    }
    return folder
  }

  async remove(task: string, attempt: number): Promise<void> {
    const { root, secrets, kinit } = this.of(task, attempt)
    for (const inMemory of [secrets, kinit]) await rm(inMemory, { recursive: true, force: true })
    await rm(root, { recursive: true, force: true })
    // The last attempt takes the task's folder with it.
    if ((await readdir(path.dirname(root)).catch(absent))?.length === 0)
      await rm(path.dirname(root), { recursive: true, force: true })
  }

  /** Put the output that could not be kept where nothing removes it; answers where. */
  async rescue(task: string, attempt: number): Promise<string> {
    const to = path.join(this.#rescued, attemptKey(task, attempt))
    await mkdir(this.#rescued, { recursive: true, mode: 0o700 })
    await rm(to, { recursive: true, force: true })
    await rename(this.of(task, attempt).output, to)
    return to
  }

  /** Attempts that have a folder. */
  async all(): Promise<{ task: string; attempt: number }[]> {
    const found: { task: string; attempt: number }[] = []
    for (const name of (await readdir(this.#tasks).catch(absent)) ?? [])
      for (const attempt of (await readdir(path.join(this.#tasks, name)).catch(absent)) ?? []) {
        const parsed = parseKey(`${name}.${attempt}`)
        if (parsed) found.push(parsed)
      }
    return found
  }
}
