// One member as a process of its own: a driver with its log on LevelDB, a key-value state machine, peer links over
// TCP, and a socket for clients. Its configuration is its argument; questions come over IPC.
import { createServer, type Socket } from 'node:net'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import {
  DiskStore,
  EMPTY_CONF,
  RaftDriver,
  RaftError,
  StoreError,
  levelDisk,
  type DriverOptions,
} from '../../raft/index.ts'
import { answer, config } from '../child.ts'
import { KeyValueMachine } from './kv.ts'
import { FAILED, OK, READ, WRITE, encodeFrames, frameReader, type Frame } from './protocol.ts'
import { tcpTransport, type Address } from './transport.ts'

export interface MemberConfig {
  readonly dir: string
  readonly id: number
  /** Where each member listens to the others; by id. */
  readonly peers: Record<number, Address>
  readonly client: Address
  /** Founders' ids; empty for a member that joins. */
  readonly voters: readonly number[]
  readonly options?: Partial<DriverOptions>
}

export interface MemberStats {
  readonly id: number
  readonly role: string
  readonly leader: number
  readonly term: number
  readonly commit: number
  readonly applied: number
  readonly logEntries: number
  readonly logBytes: number
  readonly keys: number
  readonly rss: number
  readonly heapUsed: number
  /** Microseconds of processor time since the process began. */
  readonly cpuMicros: number
  /** Milliseconds since the last `watchLoop`; nothing is measured before the first. */
  readonly loopDelay: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly metrics: Record<string, number>
}

const c = config<MemberConfig>()
const identity = { id: c.id, clusterId: 'bench' }
const disk = levelDisk(path.join(c.dir, 'raft'))
const store = await DiskStore.open(disk, identity).catch((e: unknown) => {
  if (!(e instanceof StoreError) || e.code !== 'missing') throw e
  return DiskStore.create(disk, { ...identity, conf: { ...EMPTY_CONF, voters: c.voters } })
})
const machine = await KeyValueMachine.open(path.join(c.dir, 'state'))
const peers = new Map(Object.entries(c.peers).map(([id, address]) => [Number(id), address]))
const driver = await RaftDriver.open({
  id: c.id,
  store,
  transport: tcpTransport(c.id, peers),
  stateMachine: machine,
  ...(c.options && { options: c.options }),
  onFatal(e) {
    console.error(`member ${c.id}:`, e)
    process.exit(1)
  },
})

/** Answers of one moment share a write. */
function replier(socket: Socket): (id: number, status: number, body: Uint8Array) => void {
  let pending: Frame[] = []
  const flush = () => {
    const out = encodeFrames(pending)
    pending = []
    if (!socket.destroyed) socket.write(out)
  }
  return (id, kind, body) => {
    if (pending.length === 0) process.nextTick(flush)
    pending.push({ id, kind, body })
  }
}

const NOTHING = new Uint8Array(0)

type Reply = (result: Uint8Array) => void

function handle({ kind, body }: Frame<Buffer>, done: Reply, failed: (e: unknown) => void): void {
  if (kind === WRITE) driver.propose(body).then((answer) => done(answer.result), failed)
  else if (kind === READ)
    driver.barrier().then(() => done(machine.get(body.toString('latin1')) ?? NOTHING), failed)
  else failed(new RaftError('codec', `unknown request ${kind}`))
}

createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {})
  const reply = replier(socket)
  socket.on(
    'data',
    frameReader((f) => {
      handle(
        f,
        (result) => reply(f.id, OK, result),
        (e) => reply(f.id, FAILED, Buffer.from(e instanceof RaftError ? e.code : String(e))),
      )
    }),
  )
}).listen(c.client)

// A timer each millisecond, so only while asked for.
const delay = monitorEventLoopDelay({ resolution: 1 })
const ms = (nanos: number) => Math.round(nanos / 1e4) / 100

function stats(): MemberStats {
  const { role, leader, term, commit, applied, firstIndex, lastIndex } = driver.status()
  const { rss, heapUsed } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  return {
    id: c.id,
    role,
    leader,
    term,
    commit,
    applied,
    logEntries: lastIndex - firstIndex + 1,
    logBytes: store.bytesAfter(0),
    keys: machine.keys,
    rss,
    heapUsed,
    cpuMicros: user + system,
    loopDelay: { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max) },
    metrics: driver.metrics(),
  }
}

answer({
  stats,
  watchLoop() {
    delay.enable()
    delay.reset()
  },
  changeMembers: (changes: Parameters<typeof driver.changeMembers>[0]['changes']) =>
    driver.changeMembers({ changes }),
  stop: () => process.exit(0),
})
