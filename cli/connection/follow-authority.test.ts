import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { makeAuthority } from '../testing/certificates.ts'
import { runCli, signedInCluster } from '../testing/run-cli.ts'

let lab: Awaited<ReturnType<typeof signedInCluster>>
beforeEach(async () => {
  lab = await signedInCluster()
})
afterEach(() => lab.remove())

const kept = async () =>
  (JSON.parse(await readFile(lab.config, 'utf8')) as { contexts: { ca: string }[] }).contexts[0]?.ca
const list = () => runCli(['node', 'list'], { env: lab.env })

it('a context follows its cluster to a new authority, with the next command and whatever that is', async () => {
  const first = lab.context.ca
  expect(await list()).toMatchObject({ code: 0 })
  expect(await kept()).toBe(first)
  const next = await makeAuthority('test cluster', Date.now() - 30_000)
  lab.cluster.replacement = next
  expect(await list()).toMatchObject({ code: 0, stderr: '' })
  expect((await kept())?.trim()).toBe(next.ca.trim())
  // From here on the first one's certificates are no more believed.
  expect(await list()).toMatchObject({
    code: 6,
    stderr: expect.stringContaining('no agent answered') as string,
  })
})

it('it follows to none that is older, nor to one that is not what was said', async () => {
  const first = lab.context.ca
  lab.cluster.replacement = await makeAuthority('test cluster', Date.now() - 90_000)
  expect(await list()).toMatchObject({ code: 0 })
  const next = await makeAuthority('test cluster', Date.now() - 30_000)
  lab.cluster.replacement = { ca: next.ca, sha256: 'ab'.repeat(32) }
  expect(await list()).toMatchObject({ code: 0 })
  expect(await kept()).toBe(first)
})
