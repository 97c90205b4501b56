import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'

/** The key that signs: the given one, else one made once at `fallback` and used from then on. */
export async function signingKey(
  given: string | undefined,
  fallback: string,
): Promise<{ key: KeyObject; made: boolean }> {
  const file = given ?? fallback
  const made = given === undefined && !existsSync(fallback)
  if (made) {
    await mkdir(path.dirname(fallback), { recursive: true, mode: 0o700 })
    const { privateKey } = generateKeyPairSync('ed25519')
    await writeFile(fallback, privateKey.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o600,
      flag: 'wx',
    })
  }
  const key = createPrivateKey(await readFile(file))
  if (key.asymmetricKeyType !== 'ed25519')
    throw new Error(
      `${file} is a key of the kind ${key.asymmetricKeyType}: it must be Ed25519 (openssl genpkey -algorithm ed25519)`,
    )
  return { key, made }
}

/** Writes `FILE.sig` beside a file: an Ed25519 signature of its bytes, as base64. */
export async function signFile(file: string, key: KeyObject): Promise<string> {
  const signature = sign(null, await readFile(file), key)
  await writeFile(`${file}.sig`, `${signature.toString('base64')}\n`)
  return `${file}.sig`
}

/** What others check signatures with. */
export const publicPem = (key: KeyObject): string =>
  createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
