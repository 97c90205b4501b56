import { argon2, type Argon2Parameters, hkdfSync, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { ProblemError } from '../../contract/index.ts'
import type { Kdf } from './backup-file.ts'

const derive = promisify<'argon2id', Argon2Parameters, Buffer>(argon2)

/** 64 MiB, 3 passes: a backup may lie on a shelf for years, and is opened seldom. */
const cost = { memory: 65_536, passes: 3, parallelism: 1 }
const shortest = 8

/** A key for one backup. The passphrase itself never leaves the machine where it was typed. */
export async function newPassphraseKey(passphrase: string): Promise<{ key: Buffer; kdf: Kdf }> {
  if (passphrase.length < shortest)
    throw new ProblemError('invalid_request', `a passphrase has at least ${shortest} characters`, {
      hint: 'Whoever has the file and guesses the passphrase has the cluster: take a long one, and keep it elsewhere.',
    })
  const kdf: Kdf = { name: 'argon2id', salt: randomBytes(16).toString('base64url'), ...cost }
  return { key: await passphraseKey(passphrase, kdf), kdf }
}

export function passphraseKey(passphrase: string, kdf: Kdf): Promise<Buffer> {
  const { memory, passes, parallelism, salt } = kdf
  // Keyboards and systems write one letter in several ways.
  const message = Buffer.from(passphrase.normalize('NFC'))
  return derive('argon2id', {
    message,
    nonce: Buffer.from(salt, 'base64url'),
    memory,
    passes,
    parallelism,
    tagLength: 32,
  })
}

/** What the cluster key is sealed with; it tells nothing about the key of the rest. */
export const keyForClusterKey = (key: Uint8Array): Buffer =>
  Buffer.from(hkdfSync('sha256', key, new Uint8Array(0), 'submarine backup cluster key', 32))
