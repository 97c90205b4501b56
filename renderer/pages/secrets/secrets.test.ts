import { expect, test } from 'vitest'
import { valueOf } from './secrets.ts'

test('a file is sent byte for byte', async () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, at) => at % 256)
  const { value, encoding } = await valueOf(new Blob([bytes]))
  expect(encoding).toBe('base64')
  expect([...Buffer.from(value, 'base64')]).toEqual([...bytes])
})
