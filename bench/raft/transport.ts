import { connect, createServer, type Socket } from 'node:net'
import {
  PeerStream,
  receiveSnapshot,
  writeSnapshot,
  type Message,
  type NodeId,
  type SnapshotBytes,
  type SnapshotMessage,
  type Transport,
} from '../../raft/index.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

const MESSAGES = Buffer.from('m')
const SNAPSHOT = Buffer.from('s')
/** Longer than a connection to a host that is there takes, shorter than an election. */
const RETRY_MS = 50

/** Plain TCP between members, as etcd is measured: one connection for each direction, snapshots on their own. */
export function tcpTransport(id: NodeId, peers: ReadonlyMap<NodeId, Address>): Transport {
  let onMessage: (m: Message) => void = () => {}
  let onSnapshot: (m: SnapshotMessage, data: SnapshotBytes) => Promise<void> = () =>
    Promise.reject(new Error('not open yet'))
  const streams = new Map<NodeId, PeerStream>()
  const retryAt = new Map<NodeId, number>()

  createServer({ noDelay: true }, (socket: Socket) => {
    socket.on('error', () => {})
    socket.once('readable', () => {
      const kind = (socket.read(1) as Buffer | null)?.toString()
      if (kind === 's') receiveSnapshot(socket, (m, data) => onSnapshot(m, data)).catch(() => {})
      else new PeerStream(socket).onMessage((m) => onMessage(m))
    })
  }).listen(peers.get(id))

  const dial = (to: NodeId, kind: Buffer): Socket => {
    const address = peers.get(to)
    if (!address) throw new Error(`member ${to} has no address`)
    const socket = connect({ ...address, noDelay: true })
    socket.on('error', () => {})
    socket.write(kind)
    return socket
  }
  const streamTo = (to: NodeId): PeerStream | undefined => {
    const known = streams.get(to)
    if (known) return known
    if ((retryAt.get(to) ?? 0) > performance.now()) return undefined
    retryAt.set(to, performance.now() + RETRY_MS)
    const made = new PeerStream(dial(to, MESSAGES))
    made.onClose(() => streams.delete(to))
    streams.set(to, made)
    return made
  }

  return {
    send(messages) {
      const byPeer = new Map<NodeId, Message[]>()
      for (const m of messages) {
        const list = byPeer.get(m.to)
        if (list) list.push(m)
        else byPeer.set(m.to, [m])
      }
      for (const [to, list] of byPeer) streamTo(to)?.send(list)
    },
    onMessage: (f) => (onMessage = f),
    sendSnapshot: (m, data) => writeSnapshot(dial(m.to, SNAPSHOT), m, data),
    onSnapshot: (f) => (onSnapshot = f),
  }
}
