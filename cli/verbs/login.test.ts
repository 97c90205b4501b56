import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { runCli, signedInCluster } from '../testing/run-cli.ts'

const later: (() => unknown)[] = []
afterEach(async () => {
  for (const undo of later.splice(0)) await undo()
})

it('sign-in by the wrong one of http and https names the right one', async () => {
  const { cluster, remove } = await signedInCluster()
  later.push(remove)
  const secure = new URL(cluster.agents[0]?.origin ?? '').host
  const plain = createServer().listen(0, '127.0.0.1')
  later.push(() => plain.close())
  await once(plain, 'listening')
  const open = `127.0.0.1:${(plain.address() as AddressInfo).port}`
  const said = async (address: string) => (await runCli(['login', address])).stderr
  expect(await said(`http://${secure}`)).toContain(
    `hint: That port may speak HTTPS only: try https://${secure}.`,
  )
  expect(await said(`https://${open}`)).toContain(`hint: That port speaks plain HTTP: try http://${open}.`)
})
