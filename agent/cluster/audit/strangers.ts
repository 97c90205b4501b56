import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { appendFile, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { AuditNote } from '../commands/audit.ts'
import { hasCode } from '../identity/files.ts'

/** Lines that may come at once, and how many more each second. */
const burst = 200
const perSecond = 5
const mostFiles = 500
const mostBytes = 64 * 1024 ** 2

interface Options {
  readonly folder: string
  readonly node: string
  readonly propose: (note: AuditNote) => Promise<unknown>
  readonly log: { warn(fields: object, message: string): void }
  readonly now?: () => number
  readonly sealMs?: number
}

/**
 * Refused calls of nobody in particular: a port scanner makes many, so they stay in files of this node, so many a second
 * at most. Each hour the file's digest goes into the audit log, and with it the file cannot be changed unnoticed.
 */
export class Strangers {
  readonly #options: Options
  readonly #now: () => number
  readonly #timer: NodeJS.Timeout
  readonly #file: string
  #allowance = burst
  #refilled: number
  #dropped = 0
  #lines: string[] = []
  #writing: Promise<void> = Promise.resolve()

  constructor(options: Options) {
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#refilled = this.#now()
    this.#file = join(options.folder, 'refused.jsonl')
    this.#timer = setInterval(() => void this.seal(), options.sealMs ?? 3_600_000).unref()
  }

  add(note: AuditNote): void {
    const now = this.#now()
    this.#allowance = Math.min(
      burst,
      this.#allowance + (Math.max(0, now - this.#refilled) / 1000) * perSecond,
    )
    this.#refilled = now
    if (this.#allowance < 1) return void this.#dropped++
    this.#allowance--
    const { at, address, action, code, message } = note
    const left_out = this.#dropped ? { left_out: this.#dropped } : {}
    this.#dropped = 0
    this.#lines.push(JSON.stringify({ at, address, action, code, message, ...left_out }) + '\n')
    if (this.#lines.length === 1) void this.#then(() => this.#write())
  }

  /** The file so far is closed, and its digest told to the cluster. */
  seal(): Promise<void> {
    return this.#then(async () => {
      await this.#write()
      const { folder, node, propose } = this.#options
      const found = await stat(this.#file).catch(noneIfMissing)
      if (!found?.size) return
      const { sha256, lines } = await digestOf(this.#file)
      const at = new Date(this.#now()).toISOString()
      const name = `refused-${at.replaceAll(/[:.]/g, '-')}.jsonl`
      // Told first: without a leader the file goes on, and is sealed an hour later.
      await propose({
        at, actor: `node:${node}`, token: null, address: null, request: null, action: 'audit.seal',
        object: { kind: 'node', id: node }, decision: 'allowed', code: null, count: 1, after: sha256,
        message: `${lines} refused calls of callers who were not signed in stand in ${name} on this node`,
      }) // prettier-ignore
      await rename(this.#file, join(folder, name))
      await this.#forgetOld()
    })
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#then(() => this.#write())
  }

  #then(act: () => Promise<void>): Promise<void> {
    this.#writing = this.#writing.then(act).catch((error: unknown) => {
      this.#options.log.warn({ err: error }, 'refused calls could not be written down')
    })
    return this.#writing
  }

  async #write(): Promise<void> {
    const lines = this.#lines.splice(0)
    if (!lines.length) return
    await mkdir(this.#options.folder, { recursive: true, mode: 0o700 })
    await appendFile(this.#file, lines.join(''), { mode: 0o600 })
  }

  async #forgetOld(): Promise<void> {
    const { folder } = this.#options
    const names = (await readdir(folder))
      .filter((name) => name.startsWith('refused-'))
      .toSorted()
      .reverse()
    let bytes = 0
    for (const [at, name] of names.entries()) {
      bytes += (await stat(join(folder, name))).size
      if (at >= mostFiles || bytes > mostBytes) await rm(join(folder, name))
    }
  }
}

async function digestOf(path: string): Promise<{ sha256: string; lines: number }> {
  const hash = createHash('sha256')
  let lines = 0
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    for (const byte of chunk) if (byte === 0x0a) lines++
  }
  return { sha256: hash.digest('hex'), lines }
}

function noneIfMissing(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT')) throw error
}
