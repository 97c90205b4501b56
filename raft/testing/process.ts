// One member as a process of its own: `node process.ts <dir> <id> <ports, comma separated>`. Everybody founds.
// Lines on stdin are commands; each is answered on stdout by "ok <command> <result>" or "failed <command> <code>".
// At "list", the barrier is awaited and all commands applied so far are printed as JSON.
import { connect, createServer, type Socket } from 'node:net'
import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { RaftDriver } from '../driver.ts'
import type { Transport } from '../driver-api.ts'
import { DiskStore } from '../disk-store.ts'
import { levelDisk } from '../level-disk.ts'
import { PeerStream } from '../peer-stream.ts'
import { receiveSnapshot, writeSnapshot } from '../snapshot-stream.ts'
import type { SnapshotBytes } from '../store.ts'
import { EMPTY_CONF, RaftError, type Message, type SnapshotMessage } from '../types.ts'
import { fast } from './members.ts'
import { ListMachine } from './list-machine.ts'

const [dir = '', idText = '', portsText = ''] = process.argv.slice(2)
const id = Number(idText)
const ports = portsText.split(',').map(Number)

let onMessage: (m: Message) => void = () => {}
let onSnapshot: (m: SnapshotMessage, data: SnapshotBytes) => Promise<void> = () =>
  Promise.reject(new Error('early'))
const streams = new Map<number, PeerStream>()

// One connection per ordered pair; the first byte tells messages from snapshots.
createServer((socket: Socket) => {
  socket.on('error', () => {})
  socket.once('readable', () => {
    const kind = (socket.read(1) as Buffer | null)?.toString()
    if (kind === 's') receiveSnapshot(socket, (m, data) => onSnapshot(m, data)).catch(() => {})
    else new PeerStream(socket).onMessage((m) => onMessage(m))
  })
}).listen(ports[id - 1], '127.0.0.1')

function stream(to: number): PeerStream {
  let s = streams.get(to)
  if (!s) {
    const socket = connect(ports[to - 1] as number, '127.0.0.1')
    socket.setNoDelay(true)
    socket.write('m')
    s = new PeerStream(socket)
    s.onClose(() => streams.delete(to))
    streams.set(to, s)
  }
  return s
}

const transport: Transport = {
  send(messages) {
    for (const m of messages) stream(m.to).send([m])
  },
  onMessage: (f) => (onMessage = f),
  async sendSnapshot(m, data) {
    const socket = connect(ports[m.to - 1] as number, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('s')
    await writeSnapshot(socket, m, data)
  },
  onSnapshot: (f) => (onSnapshot = f),
}

/** Writes its state to a file now and then, like a state database that is behind the log at a crash. */
const stateFile = path.join(dir, 'state.json')
class FileMachine extends ListMachine {
  override async flush(...args: Parameters<ListMachine['flush']>): Promise<void> {
    await super.flush(...args)
    await this.save()
  }
  override async restore(...args: Parameters<ListMachine['restore']>): Promise<void> {
    await super.restore(...args)
    await this.save()
  }
  async save(): Promise<void> {
    const tmp = `${stateFile}.tmp`
    await writeFile(tmp, this.dump())
    await rename(tmp, stateFile)
  }
}

const identity = { id, clusterId: 'test' }
const conf = { ...EMPTY_CONF, voters: ports.map((_, i) => i + 1) }
const disk = levelDisk(dir)
const store = await DiskStore.open(disk, identity).catch((e: unknown) => {
  if ((e as { code?: string }).code === 'missing') return DiskStore.create(disk, { ...identity, conf })
  throw e
})
const saved = await readFile(stateFile, 'utf8').catch(() => undefined)
const machine = new FileMachine(saved === undefined ? undefined : ListMachine.parse(saved))
const driver = await RaftDriver.open({
  id,
  store,
  transport,
  stateMachine: machine,
  options: {
    ...fast,
    electionMs: 150,
    heartbeatMs: 30,
    snapshotEntries: 150,
    trailingEntries: 20,
    timeoutMs: 20_000,
  },
  onFatal(e) {
    console.error(e)
    process.exit(1)
  },
})
console.log('ready')
createInterface(process.stdin).on('line', (line) => {
  const work =
    line === 'list'
      ? driver.barrier().then(() => console.log(JSON.stringify(machine.list)))
      : driver
          .propose(Buffer.from(line))
          .then(({ result }) => console.log(`ok ${line} ${Buffer.from(result).toString()}`))
  work.catch((e: unknown) => console.log(`failed ${line} ${e instanceof RaftError ? e.code : String(e)}`))
})
