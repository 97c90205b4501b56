import { describe, expect, it } from 'vitest'
import { isHostPort, isLoopback, originOf } from './address.ts'

describe('addresses', () => {
  it.each([
    ['lab-1', 'https://lab-1:7460'],
    ['lab-1:9000', 'https://lab-1:9000'],
    ['https://lab-1', 'https://lab-1:7460'],
    ['https://lab-1:443/', 'https://lab-1:443'],
    ['::1', 'https://[::1]:7460'],
    ['[fd00::2]:99', 'https://[fd00::2]:99'],
    ['http://127.0.0.1:7000', 'http://127.0.0.1:7000'],
    ['http://localhost', 'http://localhost:80'],
  ])('%s is %s', (text, origin) => {
    expect(originOf(text)).toBe(origin)
  })

  it.each([
    '',
    'http://lab-1:80',
    'https://user:pw@lab',
    'https://lab/path',
    'https://lab?x=1',
    'a b',
    'ftp://x',
  ])('refuses %j', (text) => {
    expect(() => originOf(text)).toThrow()
  })

  it('knows this machine from others', () => {
    expect(['localhost', '127.8.9.1', '[::1]'].every(isLoopback)).toBe(true)
    expect(['127.0.0.1.evil.org', 'localhost.evil.org', '10.0.0.1'].some(isLoopback)).toBe(false)
  })

  it('reads HOST:PORT strictly', () => {
    expect(['a:1', '10.0.0.1:7460', '[::1]:7460'].every(isHostPort)).toBe(true)
    expect(['a', 'a:', 'a:0', 'a:70000', '::1:7460', 'a b:1', 'https://a:1'].some(isHostPort)).toBe(false)
  })
})
