import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { z } from 'zod'
import { ProblemError } from '../../contract/index.ts'

/** How a passphrase becomes the key: stands in the file, so that later versions may ask for more work. */
export const Kdf = z.strictObject({
  name: z.literal('argon2id'),
  salt: z.string().regex(/^[A-Za-z0-9_-]{16,100}$/),
  memory: z.int().min(8192).max(1 << 20),
  passes: z.int().min(1).max(16),
  parallelism: z.int().min(1).max(16),
}) // prettier-ignore
export type Kdf = z.infer<typeof Kdf>

/** What anybody may read of a backup without its passphrase. */
export const BackupHeader = z.object({
  format: z.literal(1),
  cluster: z.object({ id: z.string().min(1), name: z.string().min(1) }),
  /** The entry after which the state stood so. */
  index: z.int().min(1),
  taken_at: z.string(),
  agent: z.string(),
  kdf: Kdf,
  /** Each file has a key of its own, also where a request is repeated with the same passphrase key. */
  nonce: z.string().regex(/^[A-Za-z0-9_-]{22}$/),
})
export type BackupHeader = z.infer<typeof BackupHeader>

// Layout: magic, [length u32][header JSON], frames [length u32][AES-256-GCM text and tag], [0 u32], SHA-256 of all before.
const magic = Buffer.from('submarine-backup\n')
const frameBytes = 256 << 10
const mostFrame = frameBytes + 16
const mostHeader = 16 << 10
const digestBytes = 32
const tag = { authTagLength: 16 } as const

/** A frame's place is its nonce, so that none can be moved, repeated or left out; the header is bound to each. */
function frameNonce(at: number): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64BE(BigInt(at), 4)
  return nonce
}

const fileKey = (key: Uint8Array, nonce: string) =>
  Buffer.from(hkdfSync('sha256', key, Buffer.from(nonce, 'base64url'), 'submarine backup frames', 32))
const u32 = (value: number) => {
  const out = Buffer.alloc(4)
  out.writeUInt32LE(value)
  return out
}
const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest()

export const newNonce = (): string => randomBytes(16).toString('base64url')

/** The bytes of a backup: what `content` yields, sealed by a key that is derived from the passphrase's. */
export async function* writeBackup(
  header: BackupHeader,
  key: Uint8Array,
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  const digest = createHash('sha256')
  const out = (bytes: Buffer) => {
    digest.update(bytes)
    return bytes
  }
  const head = Buffer.from(JSON.stringify(header))
  yield out(Buffer.concat([magic, u32(head.length), head]))
  const own = fileKey(key, header.nonce)
  const bound = sha256(head)
  let at = 0
  for await (const chunk of chunksOf(content)) {
    const cipher = createCipheriv('aes-256-gcm', own, frameNonce(at++), tag).setAAD(bound)
    const sealed = Buffer.concat([cipher.update(chunk), cipher.final(), cipher.getAuthTag()])
    yield out(Buffer.concat([u32(sealed.length), sealed]))
  }
  yield out(u32(0))
  yield digest.digest()
}

async function* chunksOf(content: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let parts: Uint8Array[] = []
  let size = 0
  for await (const part of content) {
    for (let from = 0; from < part.length;) {
      const taken = part.subarray(from, from + frameBytes - size)
      parts.push(taken)
      size += taken.length
      from += taken.length
      if (size < frameBytes) continue
      yield Buffer.concat(parts)
      parts = []
      size = 0
    }
  }
  if (size) yield Buffer.concat(parts)
}

/** A file whose every byte has been checked against its digest. */
export interface CheckedBackup {
  readonly path: string
  readonly header: BackupHeader
  readonly bytes: number
  readonly sha256: string
}

/** Reads the whole file once. Throws ProblemError that says whether it is no backup, cut off, damaged or too new. */
export async function checkBackup(path: string): Promise<CheckedBackup> {
  const reader = new FileReader(path)
  try {
    const { header } = await readHead(reader)
    for (;;) {
      const length = (await reader.take(4)).readUInt32LE(0)
      if (length === 0) break
      if (length > mostFrame) throw damaged(path)
      await reader.take(length)
    }
    const digest = reader.digest()
    if (!(await reader.take(digestBytes)).equals(digest)) throw damaged(path)
    if (!(await reader.ended())) throw damaged(path)
    return { path, header, bytes: reader.bytes, sha256: digest.toString('hex') }
  } finally {
    reader.close()
  }
}

/** What stands in a checked backup. Throws ProblemError `bad_credentials` when the key is another's. */
export async function* readBackup({ path }: CheckedBackup, key: Uint8Array): AsyncGenerator<Buffer> {
  const reader = new FileReader(path)
  try {
    const { header, head } = await readHead(reader)
    const own = fileKey(key, header.nonce)
    const bound = sha256(head)
    for (let at = 0; ; at++) {
      const length = (await reader.take(4)).readUInt32LE(0)
      if (length === 0) return
      const sealed = await reader.take(length)
      const cipher = createDecipheriv('aes-256-gcm', own, frameNonce(at), tag).setAAD(bound)
      cipher.setAuthTag(sealed.subarray(-16))
      const text = cipher.update(sealed.subarray(0, -16))
      try {
        cipher.final()
      } catch (cause) {
        // The file's own digest was right, so nothing was damaged on the way.
        throw wrongPassphrase(path, cause)
      }
      yield text
    }
  } finally {
    reader.close()
  }
}

async function readHead(reader: FileReader): Promise<{ header: BackupHeader; head: Buffer }> {
  const { path } = reader
  const start = await reader.take(magic.length).catch((error: unknown) => {
    throw error instanceof ProblemError && error.code === 'invalid_request' ? noBackup(path) : error
  })
  if (!start.equals(magic)) throw noBackup(path)
  const length = (await reader.take(4)).readUInt32LE(0)
  if (length > mostHeader) throw damaged(path)
  const head = await reader.take(length)
  let value: unknown
  try {
    value = JSON.parse(head.toString())
  } catch {
    throw damaged(path)
  }
  const format = z.object({ format: z.int() }).safeParse(value).data?.format
  if (format !== undefined && format > 1)
    throw new ProblemError('unsupported', `the backup has format ${format}, this version knows 1: ${path}`, {
      hint: 'Use the version that wrote it, or a newer one.',
    })
  const header = BackupHeader.safeParse(value)
  if (!header.success) throw damaged(path)
  return { header: header.data, head }
}

const noBackup = (path: string) =>
  new ProblemError('invalid_request', `this is no backup of a cluster: ${path}`, {
    hint: 'Give a file that `submarine cluster backup FILE` wrote.',
  })
const damaged = (path: string) =>
  new ProblemError('invalid_request', `the backup is damaged, its checksum is not right: ${path}`, {
    hint: 'Use another copy of it, or an older backup.',
  })
const cutOff = (path: string) =>
  new ProblemError('invalid_request', `the backup is cut off, its end is missing: ${path}`, {
    hint: 'Use another copy of it, or an older backup.',
  })
const wrongPassphrase = (path: string, cause: unknown) =>
  new ProblemError('bad_credentials', `the passphrase does not open this backup: ${path}`, {
    hint: 'Give the passphrase it was made with; without it nobody can read it.',
    cause,
  })

/** Takes pieces of a file in order and keeps the digest of what was taken. */
class FileReader {
  readonly path: string
  readonly #chunks: AsyncIterator<Buffer>
  readonly #close: () => void
  readonly #hash = createHash('sha256')
  #rest: Buffer = Buffer.alloc(0)
  bytes = 0

  constructor(path: string) {
    const stream = createReadStream(path, { highWaterMark: 1 << 18 })
    this.path = path
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    this.#close = () => stream.destroy()
  }

  async take(size: number): Promise<Buffer> {
    const parts = [this.#rest]
    let have = this.#rest.length
    while (have < size) {
      const next = await this.#next()
      if (!next) throw cutOff(this.path)
      parts.push(next)
      have += next.length
    }
    const all = parts.length === 1 ? this.#rest : Buffer.concat(parts)
    this.#rest = all.subarray(size)
    const taken = all.subarray(0, size)
    this.#hash.update(taken)
    this.bytes += size
    return taken
  }

  /** Of everything taken so far. */
  digest(): Buffer {
    return this.#hash.copy().digest()
  }

  async ended(): Promise<boolean> {
    return this.#rest.length === 0 && !(await this.#next())
  }

  close(): void {
    this.#close()
  }

  async #next(): Promise<Buffer | undefined> {
    try {
      const next = await this.#chunks.next()
      return next.done ? undefined : next.value
    } catch (cause) {
      throw new ProblemError('not_found', `cannot read ${this.path}: ${messageOf(cause)}`, {
        hint: 'Check the name and that you may read it.',
        cause,
      })
    }
  }
}

function messageOf(cause: unknown): string {
  const known: Record<string, string> = { ENOENT: 'there is no such file', EISDIR: 'it is a folder' }
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return known[code] ?? (cause instanceof Error ? cause.message : String(cause))
}
