import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { nearest } from './nearest.ts'
import { fieldErrors } from './problem.ts'
import { parseSpec } from './spec.ts'

describe('the word that was meant', () => {
  const known = ['command', 'env', 'environment', 'image', 'replicas', 'timeout']
  it.each([
    ['comand', 'command'],
    ['Command', 'command'],
    ['commnad', 'command'],
    ['enviroment', 'environment'],
    ['replica', 'replicas'],
    ['evn', 'env'],
  ])('%s: %s', (word, meant) => expect(nearest(word, known)).toBe(meant))
  it.each(['x', 'en', 'colour', 'constructor', ''])('nothing is near to %j', (word) =>
    expect(nearest(word, known)).toBeUndefined(),
  )
})

describe('fields that nobody knows', () => {
  const faultsOf = (input: unknown) => {
    const parsed = parseSpec(input)
    return 'errors' in parsed ? parsed.errors.map(({ pointer, message }) => `${pointer} ${message}`) : []
  }

  it('are told with the one that was meant, at any depth', () => {
    expect(faultsOf({ name: 'a', comand: 'x', coffee: 1, command: 'x' })).toEqual([
      '/comand unknown field; did you mean "command"?',
      '/coffee unknown field',
    ])
    expect(faultsOf({ name: 'a', roles: { worker: { command: 'x', replica: 2 } } })).toEqual([
      '/roles/worker/replica unknown field; did you mean "replicas"?',
    ])
    expect(faultsOf({ name: 'a', command: 'x', environment: { imgae: 'b' } })).toContain(
      '/environment/imgae unknown field; did you mean "image"?',
    )
  })

  it('also in bodies of requests, below a prefix', () => {
    const Body = z.strictObject({ reason: z.string(), at: z.array(z.strictObject({ node: z.string() })) })
    const { error } = Body.safeParse({ reson: '', reason: '', at: [{ node: 'a', nod: 'b' }] })
    expect(error && fieldErrors(error, ['body'], Body)).toEqual([
      { pointer: '/body/at/0/nod', message: 'unknown field; did you mean "node"?' },
      { pointer: '/body/reson', message: 'unknown field; did you mean "reason"?' },
    ])
  })
})
