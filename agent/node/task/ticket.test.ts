import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Map as Rows } from 'immutable'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isFinal, ProblemError } from '../../../contract/index.ts'
import type { SecretRow } from '../../cluster/state.ts'
import { DoubleBlobs, DoubleCluster, DoubleRuntime, DoubleSpace, DoubleStreams, experimentRow } from '../doubles.ts' // prettier-ignore
import { NodeReconciler } from '../reconcile.ts'
import { AttemptFolders } from './folders.ts'

const keytab = Buffer.from([5, 2, 104, 117, 110, 116, 101, 114, 50])
let root: string
let cluster: DoubleCluster
let runtime: DoubleRuntime
let reconciler: NodeReconciler | undefined
let allowed: boolean
const pathBefore = process.env['PATH']

beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'ticket-'))
  // The programs run as somebody else.
  await chmod(root, 0o755)
  await program('kinit', `echo >>${root}/asked; cat ${root}/says >&2 2>/dev/null && exit 1; head -c 16 /dev/urandom >ticket`) // prettier-ignore
  await lasting('10 hours')
  await writeFile(path.join(root, 'asked'), '')
  await chmod(path.join(root, 'asked'), 0o666)
  process.env['PATH'] = `${root}:${pathBefore}`
  cluster = new DoubleCluster(experiment())
  const kerberos = Rows([['self', { resource_version: 1, realms: [{ realm: 'LAB.EXAMPLE', kdcs: ['kdc'], domains: [] }] }]]) // prettier-ignore
  const secret = { id: 'ana/hdfs', principal: 'ana@LAB.EXAMPLE' } as SecretRow
  cluster.change({ state: { kerberos, secrets: Rows([['ana/hdfs', secret]]) } })
  runtime = new DoubleRuntime()
  allowed = true
})
afterEach(async () => {
  await reconciler?.stop()
  process.env['PATH'] = pathBefore
  await rm(path.dirname(folders().secrets), { recursive: true, force: true })
  await rm(root, { recursive: true })
})

function experiment() {
  const row = experimentRow()
  return { ...row, spec: { ...row.spec, secrets: [{ name: 'hdfs', ticket: true as const }] } }
}

/** In place of the host's. */
async function program(name: string, script: string): Promise<void> {
  await writeFile(path.join(root, name), `#!/bin/sh\n${script}\n`)
  await chmod(path.join(root, name), 0o755)
}
const lasting = (time: string) =>
  program('klist', `form='+%m/%d/%y %H:%M:%S'; echo "$(date -u "$form")  $(date -u -d '${time}' "$form")  krbtgt/LAB.EXAMPLE@LAB.EXAMPLE"`) // prettier-ignore
const kinitSays = (text: string) => writeFile(path.join(root, 'says'), `kinit: ${text}\n`)
const asked = async () => (await readFile(path.join(root, 'asked'))).length
const folders = () => new AttemptFolders(path.join(root, 'data')).of('exp-1-worker-0', 1)
const ticket = () => readFile(path.join(folders().secrets, 'krb5cc'), 'hex')

async function agent(): Promise<void> {
  reconciler = new NodeReconciler({
    cluster,
    blobs: new DoubleBlobs(),
    streams: new DoubleStreams(),
    space: new DoubleSpace(),
    runtimes: [runtime],
    dataDir: path.join(root, 'data'),
    api: { url: (name) => `http://agent.example/${name}` },
    clusterId: 'cluster-1',
    nodeId: 'node-1',
    log: pino({ level: process.env['LOG_LEVEL'] ?? 'silent' }),
    periodMs: 20,
    timing: { grace: 3000, retry: 5, startPatience: 400, copyPatience: 50, keepPatience: 50 },
    secretFor: async () => {
      if (!allowed) throw new ProblemError('forbidden', 'the secret ana/hdfs: ana may not use it')
      return keytab.toString('base64')
    },
  })
  await reconciler.start()
}

const isRunning = () => cluster.untilTask(({ state }) => state === 'Running')
const isOver = () => cluster.untilTask(({ state }) => isFinal(state))
const isTold = (code: string | undefined) => cluster.untilTask(({ reason }) => reason?.code === code)
/** Polls what no event tells; the test's own time limit ends a wait in vain. */
async function isAnother(before: string): Promise<void> {
  while ((await ticket()) === before) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('a task with a ticket', { skip: process.platform !== 'linux' }, () => {
  it('starts with it, and without the keytab', async () => {
    await agent()
    await isRunning()
    const { secrets, kinit } = folders()
    expect(runtime.started[0]?.secrets).toEqual({ env: {}, folder: secrets, ticket: true })
    expect((await readdir(secrets)).toSorted()).toEqual(['krb5.conf', 'krb5cc'])
    expect(await readFile(path.join(secrets, 'krb5.conf'), 'utf8')).toContain('kdc = kdc\n')
    await expect(stat(kinit)).rejects.toMatchObject({ code: 'ENOENT' })
    runtime.get().end()
    await isOver()
    while (await stat(secrets).catch(() => undefined)) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  it('waits for its realm and says so, and fails by that in the end', async () => {
    await kinitSays("Cannot contact any KDC for realm 'LAB.EXAMPLE' while getting initial credentials")
    await agent()
    await isTold('kerberos_unreachable')
    await isOver()
    expect(cluster.task()).toMatchObject({ state: 'Failed', reason: { code: 'kerberos_unreachable' } })
    expect(await asked()).toBeGreaterThan(1)
    expect(runtime.started).toEqual([])
  })

  it('does not wait for what time does not heal', async () => {
    await kinitSays('Preauthentication failed while getting initial credentials')
    await agent()
    await isOver()
    expect(cluster.task()).toMatchObject({ state: 'Failed', reason: { code: 'kerberos_keytab' } })
    expect(await asked()).toBe(1)
  })

  it('is not started where it was taken away since: the right to the secret, its principal, the realm', async () => {
    cluster.change({ state: { kerberos: Rows() } })
    await agent()
    await isOver()
    expect(cluster.task()).toMatchObject({ state: 'Failed', reason: { code: 'kerberos_realm' } })
    expect(await asked()).toBe(0)
  })

  it('gets new ones while it runs, and is told when it gets none, and when it does again', async () => {
    await lasting('1 second')
    await agent()
    await isRunning()
    await isAnother(await ticket())
    allowed = false
    await isTold('secret_refused')
    expect(cluster.task()).toMatchObject({ state: 'Running', reason: { message: expect.stringMatching(/is not renewed: It was not given the secret ana\/hdfs.* Its ticket ends at 20/) as string } }) // prettier-ignore
    const last = await ticket()
    allowed = true
    await isTold(undefined)
    expect(await ticket()).not.toBe(last)
    expect(cluster.task()?.state).toBe('Running')
  })

  it('gets a new one at once from an agent that was started anew and knows nothing of the old one', async () => {
    await agent()
    await isRunning()
    const before = await ticket()
    await reconciler?.stop()
    await agent()
    await isAnother(before)
    expect(runtime.started).toHaveLength(1)
  })

  it('is not said to lack one for ever when another agent process gets it', async () => {
    await lasting('1 second')
    await agent()
    await isRunning()
    allowed = false
    await isTold('secret_refused')
    await reconciler?.stop()
    allowed = true
    await agent()
    await isTold(undefined)
    expect(cluster.task()?.state).toBe('Running')
  })
})
