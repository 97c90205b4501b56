import { argon2Sync } from 'node:crypto'
import { expect, test } from 'vitest'
import {
  hashPassword,
  newClusterKey,
  newPassword,
  newToken,
  open,
  seal,
  sha256Of,
  verifyPassword,
} from './seal.ts'

test('a sealed text opens with its key and in its place, and never looks the same twice', () => {
  const key = newClusterKey()
  const text = '-----BEGIN PRIVATE KEY-----\nü\n'
  const sealed = seal(key, text, 'ca-key:c1')
  expect(open(key, sealed, 'ca-key:c1')).toBe(text)
  expect(seal(key, text, 'ca-key:c1')).not.toBe(sealed)
  expect(sealed).not.toContain('PRIVATE')
  expect(() => open(newClusterKey(), sealed, 'ca-key:c1')).toThrow(/another cluster key/)
  expect(() => open(key, sealed, 'ca-key:c2')).toThrow(/another cluster key/)
  expect(open(key, seal(key, '', 'x'), 'x')).toBe('')
})

test('one flipped bit anywhere, or a cut, does not open', () => {
  const key = newClusterKey()
  const [version, iv, body] = seal(key, 'secret', 'x').split('.') as [string, string, string]
  const bytes = Buffer.from(body, 'base64url')
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(() => open(key, [version, iv, changed.toString('base64url')].join('.'), 'x')).toThrow()
  }
  for (const bad of ['', 's1', 's2.a.b', `s1.${iv}.AAAA`, `${version}.${iv}.${body}.x`])
    expect(() => open(key, bad, 'x')).toThrow('not a sealed text')
})

test('a password is verified against its hash, and two hashes of one differ', async () => {
  const hashed = await hashPassword('correct horse')
  expect(hashed).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  expect(await verifyPassword('correct horse', hashed)).toBe(true)
  expect(await verifyPassword('Correct horse', hashed)).toBe(false)
  expect(await verifyPassword('', hashed)).toBe(false)
  expect(await hashPassword('correct horse')).not.toBe(hashed)
})

test('letters that can be written in two ways are the same password', async () => {
  expect(await verifyPassword('scho\u0308n', await hashPassword('sch\u00f6n'))).toBe(true)
})

test('a hash of other costs, as an older version made, is still verified', async () => {
  const nonce = Buffer.from('somesaltsomesalt')
  const options = { message: 'pw', nonce, memory: 64, passes: 3, parallelism: 2, tagLength: 24 }
  const tag = argon2Sync('argon2id', options)
  const plain = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')
  const hashed = `$argon2id$v=19$m=64,t=3,p=2$${plain(nonce)}$${plain(tag)}`
  expect([await verifyPassword('pw', hashed), await verifyPassword('px', hashed)]).toEqual([true, false])
})

test('nobody signs in as a user that does not exist, and what is no hash is an error', async () => {
  expect(await verifyPassword('x', undefined)).toBe(false)
  for (const bad of ['', 'x', '$argon2i$v=19$m=64,t=3,p=2$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA', '$2b$10$abc'])
    await expect(verifyPassword('x', bad)).rejects.toThrow('not an argon2id password hash')
})

test('a token is unguessable, recognisable, and known by its digest', () => {
  const { token, sha256 } = newToken()
  expect(token).toMatch(/^sdc_[A-Za-z0-9_-]{43}$/)
  expect(sha256).toBe(sha256Of(token))
  expect(sha256Of('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  expect(newToken().token).not.toBe(token)
})

test('a first password can be read from a screen', () => {
  const all = new Set(Array.from({ length: 200 }, newPassword))
  expect(all.size).toBe(200)
  for (const password of all) expect(password).toMatch(/^([a-km-np-z2-9]{4}-){3}[a-km-np-z2-9]{4}$/)
})
