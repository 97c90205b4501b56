import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ProblemError, type SecretUse } from '../../../contract/index.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'
import { secretsOf } from './secrets.ts'

const needsMemory = { skip: process.platform !== 'linux' }
let root: string
beforeEach(async () => {
  root = await mkdtemp('/dev/shm/secrets-test-')
})
afterEach(() => rm(root, { recursive: true, force: true }))

type Asked = Parameters<NonNullable<RunnerContext['secretFor']>>[0]

/** Opens the secrets of an attempt in a folder; `answer` is the cluster's. */
function given(secrets: readonly SecretUse[], answer: (asked: Asked) => Promise<string>, folder = root) {
  const attempt = {
    task: { id: 'exp-1-worker-0', attempt: 2 },
    experiment: { owner: 'ana', spec: { secrets } },
  }
  const folders = { of: () => ({ secrets: path.join(folder, 'node', 'attempt') }) }
  return secretsOf(attempt as unknown as Attempt, { folders, secretFor: answer } as unknown as RunnerContext)
}

const base64 = async (text: string) => Buffer.from(text).toString('base64')

it('asks for its owner’s, and gives files in memory and variables', needsMemory, async () => {
  const asked: Asked[] = []
  const uses = [{ name: 's3', file: 'key' }, { name: 'ben/git', env: 'GIT' }] // prettier-ignore
  const found = await given(uses, (one) => (asked.push(one), base64(`of ${one.id}`)))
  expect(found?.env).toEqual({ GIT: 'of ben/git' })
  expect(await readFile(path.join(found?.folder ?? '', 'key'), 'utf8')).toBe('of ana/s3')
  expect(asked).toEqual(['ana/s3', 'ben/git'].map((id) => ({ task: 'exp-1-worker-0', attempt: 2, id })))
})

it('what its owner may not use any more fails the start for good', needsMemory, async () => {
  const refuse = () => Promise.reject(new ProblemError('forbidden', 'the secret ana/s3: it is gone'))
  await expect(given([{ name: 's3', file: 's3' }], refuse)).rejects.toMatchObject({
    code: 'secret_refused',
    message: 'It was not given the secret ana/s3: it is gone.',
  })
})

it('a cluster that cannot be asked just now is no refusal', needsMemory, async () => {
  const silent = () => Promise.reject(new ProblemError('node_unreachable'))
  await expect(given([{ name: 's3', file: 's3' }], silent)).rejects.toMatchObject({
    code: 'node_unreachable',
  })
})

it('bytes that are no text are refused as a variable, and given as a file', needsMemory, async () => {
  const bytes = async () => Buffer.from([0, 255, 1]).toString('base64')
  await expect(given([{ name: 'k', env: 'K' }], bytes)).rejects.toMatchObject({ code: 'secret_refused' })
  const found = await given([{ name: 'k', file: 'k' }], bytes)
  expect([...(await readFile(path.join(found?.folder ?? '', 'k')))]).toEqual([0, 255, 1])
})

it('nothing is put where it would lie on a disk', needsMemory, async () => {
  const disk = await mkdtemp('/var/tmp/secrets-test-')
  try {
    const putting = given([{ name: 's3', file: 's3' }], () => base64('hunter2'), disk)
    await expect(putting).rejects.toMatchObject({ code: 'secret_refused' })
    expect(await readdir(path.join(disk, 'node'))).toEqual([])
  } finally {
    await rm(disk, { recursive: true, force: true })
  }
})
