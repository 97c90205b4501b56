import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type BackupHeader, checkBackup, newNonce, readBackup, writeBackup } from './backup-file.ts'

const kdf = { name: 'argon2id', salt: 'A'.repeat(22), memory: 8192, passes: 1, parallelism: 1 } as const
const header = (): BackupHeader => ({
  format: 1, cluster: { id: 'c1', name: 'lab' }, index: 7, taken_at: '2026-01-01T00:00:00Z', agent: '1.0', kdf, nonce: newNonce(),
}) // prettier-ignore
const key = randomBytes(32)

let folder: string
let file: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'backup-'))
  file = join(folder, 'one.backup')
})
afterEach(() => rm(folder, { recursive: true }))

async function* pieces(content: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < content.length; at += 99_991) yield content.subarray(at, at + 99_991)
}
const write = async (content: Buffer) => {
  const bytes = await buffer(writeBackup(header(), key, pieces(content)))
  await writeFile(file, bytes)
  return bytes
}
const read = async (by: Buffer = key) => buffer(readBackup(await checkBackup(file), by))

describe('a backup file', () => {
  it.each([0, 1, 256 << 10, 1_000_000])('gives back its %i bytes', async (size) => {
    const content = randomBytes(size)
    const bytes = await write(content)
    expect(await checkBackup(file)).toMatchObject({ bytes: bytes.length, header: { index: 7 } })
    expect((await read()).equals(content)).toBe(true)
  })

  it('shows nothing of its content without the key', async () => {
    const bytes = await write(Buffer.from('a secret sentence '.repeat(1000)))
    expect(bytes.includes('secret')).toBe(false)
    await expect(read(randomBytes(32))).rejects.toMatchObject({ code: 'bad_credentials' })
  })

  it('is cut off wherever it ends early', async () => {
    const bytes = await write(randomBytes(600_000))
    for (const end of [18, 60, 1000, 300_000, bytes.length - 40, bytes.length - 1]) {
      await writeFile(file, bytes.subarray(0, end))
      await expect(checkBackup(file)).rejects.toThrow(/cut off/)
    }
  })

  it('is damaged wherever a bit was flipped, and where something was added', async () => {
    const bytes = await write(randomBytes(300_000))
    for (let at = 17; at < bytes.length; at += 7919) {
      const flipped = Buffer.from(bytes)
      flipped.writeUInt8(flipped.readUInt8(at) ^ 4, at)
      await writeFile(file, flipped)
      await expect(checkBackup(file)).rejects.toThrow(/damaged|cut off/)
    }
    await writeFile(file, Buffer.concat([bytes, Buffer.from('x')]))
    await expect(checkBackup(file)).rejects.toThrow(/damaged/)
  })

  it('cannot be put together of two, even with the right checksum', async () => {
    const { createHash } = await import('node:crypto')
    const one = await write(Buffer.from('one'))
    const two = await write(Buffer.from('two'))
    const bodyAt = (bytes: Buffer) => 17 + 4 + bytes.readUInt32LE(17)
    const mixed = Buffer.concat([one.subarray(0, bodyAt(one)), two.subarray(bodyAt(two), -32)])
    await writeFile(file, Buffer.concat([mixed, createHash('sha256').update(mixed).digest()]))
    await expect(read()).rejects.toMatchObject({ code: 'bad_credentials' })
  })

  it('is told from other files, missing ones, and those of a later version', async () => {
    await writeFile(file, 'something else entirely, longer than the magic')
    await expect(checkBackup(file)).rejects.toThrow(/no backup of a cluster/)
    await writeFile(file, '')
    await expect(checkBackup(file)).rejects.toThrow(/no backup of a cluster/)
    await expect(checkBackup(join(folder, 'none'))).rejects.toMatchObject({
      code: 'not_found',
      message: `cannot read ${join(folder, 'none')}: there is no such file`,
    })
    await expect(checkBackup(folder)).rejects.toThrow(/it is a folder$/)
    const later = { ...header(), format: 2 } as unknown as BackupHeader
    await writeFile(file, await buffer(writeBackup(later, key, pieces(Buffer.from('x')))))
    await expect(checkBackup(file)).rejects.toMatchObject({ code: 'unsupported' })
    expect((await readFile(file)).length).toBeGreaterThan(0)
  })
})
