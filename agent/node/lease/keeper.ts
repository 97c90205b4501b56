// Ends `lease` attempts on time when their agent cannot: it was killed, or hangs. Started by the agent, outlives it,
// and goes when there is nothing to keep. Its only argument is the agent's data folder.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { labels } from '../docker/spec.ts'
import { identify, isAlive } from '../process/proc.ts'
import { ProcessRuntime } from '../process/runtime.ts'
import { type Deadlines, isOver, type Lease, leaseFolder, readDeadlines, sinceBoot } from './deadlines.ts'
import { keeperFile, keeperOf } from './keeper-process.ts'
import { noteStopped } from './stopped.ts'

const lookEveryMs = 500
/** The agent itself comes first: it knows more to say of the end. */
const politenessMs = 3_000
/** Without leases for so long it ends; the agent starts another when it needs one. */
const lingerMs = 60_000

const dataDir = process.argv[2] ?? ''
// Stopping the agent, or closing its terminal, does not end a lease.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

if (claim()) await keep()

/** One keeper for a folder: a second one leaves it to the first. */
function claim(): boolean {
  const other = keeperOf(dataDir)
  if (other && other.pid !== process.pid && isAlive(other)) return false
  mkdirSync(leaseFolder(dataDir), { recursive: true, mode: 0o700 })
  writeFileSync(keeperFile(dataDir), JSON.stringify(identify(process.pid)), { mode: 0o600 })
  return true
}

async function keep(): Promise<void> {
  const stopping = new Set<string>()
  for (let needed = sinceBoot(); sinceBoot() - needed < lingerMs; await delay(lookEveryMs)) {
    const deadlines = readDeadlines(dataDir)
    if (!deadlines?.leases.length) continue
    needed = sinceBoot()
    for (const lease of deadlines.leases) {
      const key = `${lease.task} ${lease.attempt}`
      if (stopping.has(key) || !isOver(lease, deadlines.heard, sinceBoot() - politenessMs)) continue
      stopping.add(key)
      // Tried again as long as it is not done: nothing else will.
      void end(lease, deadlines).catch(() => stopping.delete(key))
    }
  }
  rmSync(keeperFile(dataDir), { force: true })
}

async function end(lease: Lease, { dockerSocket }: Deadlines): Promise<void> {
  const { task, attempt, graceSeconds, runtime } = lease
  if (runtime === 'process') {
    const processes = new ProcessRuntime({ folder: path.join(dataDir, 'processes') })
    const found = (await processes.list()).find((one) => one.task === task && one.attempt === attempt)
    if (!found || found.exit || found.startedAt === null) return
    noteStopped(dataDir, task, attempt)
    return processes.stop(found, graceSeconds)
  }
  if (dockerSocket !== null) await endContainer(dockerSocket, lease)
}

async function endContainer(socket: string, { task, attempt, graceSeconds }: Lease): Promise<void> {
  const label = [`${labels.task}=${task}`, `${labels.attempt}=${attempt}`]
  const filters = encodeURIComponent(JSON.stringify({ label }))
  const list = JSON.parse(await ask(socket, 'GET', `/containers/json?filters=${filters}`)) as { Id: string }[]
  if (list.length) noteStopped(dataDir, task, attempt)
  await Promise.all(
    list.map(({ Id }) => ask(socket, 'POST', `/containers/${Id}/stop?t=${Math.ceil(graceSeconds)}`)),
  )
}

function ask(socketPath: string, method: string, at: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method, path: at }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => (text += part))
      response.on('end', () => {
        const { statusCode = 0 } = response
        if (statusCode < 400 || statusCode === 404) resolve(statusCode === 404 ? '[]' : text)
        else reject(new Error(`${at}: ${statusCode} ${text}`))
      })
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end()
  })
}
