import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

test('the example of direct use in the README runs as it stands there', async () => {
  const readme = await readFile(path.join(import.meta.dirname, 'README.md'), 'utf8')
  const program = /## Direct use of RaftNode[^]*?```ts\n([^]*?)```/.exec(readme)?.[1] ?? ''
  const library = pathToFileURL(path.join(import.meta.dirname, 'index.ts')).href
  const dir = await mkdtemp(path.join(os.tmpdir(), 'raft-readme-'))
  try {
    const file = path.join(dir, 'three.mts')
    await writeFile(file, program.replace("'submarine-raft'", JSON.stringify(library)))
    const { stdout } = await promisify(execFile)(process.execPath, [file])
    expect(stdout.trim().split('\n')).toEqual([
      '{ index: 3, term: 2 }',
      "1 leader term=2 leader=1 commit=3 applied=3 last=3 voters=(1 2 3) {2:replicate match=3 next=4, 3:replicate match=3 next=4} [ 'hello' ]",
      "2 follower term=2 leader=1 commit=3 applied=3 last=3 voters=(1 2 3) [ 'hello' ]",
      "3 follower term=2 leader=1 commit=3 applied=3 last=3 voters=(1 2 3) [ 'hello' ]",
    ])
  } finally {
    await rm(dir, { recursive: true })
  }
})
