import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { once } from 'node:events'
import { FAILED, READ, encodeFrame, encodeWrite, frameReader } from '../raft/protocol.ts'
import type { Address } from '../raft/transport.ts'

export type Done = (error?: string) => void

/** One connection. Each request is a socket write of its own and has a reply of its own. */
export interface Client {
  write(key: string, value: Buffer, done: Done): void
  /** Linearizable. */
  read(key: string, done: Done): void
  close(): void
}

/** Requests under way on one connection; all fail with it. */
export class Pending {
  readonly #waiting = new Map<number, Done>()

  add(id: number, done: Done): void {
    this.#waiting.set(id, done)
  }
  settle(id: number, error?: string): void {
    const done = this.#waiting.get(id)
    this.#waiting.delete(id)
    done?.(error)
  }
  failAll(error: string): void {
    for (const id of [...this.#waiting.keys()]) this.settle(id, error)
  }
}

export async function dial(address: Address, pending: Pending): Promise<Socket> {
  const socket = connect({ ...address, noDelay: true })
  await once(socket, 'connect')
  socket.on('error', () => {})
  socket.on('close', () => pending.failAll('the connection was closed'))
  return socket
}

export async function connectToMember(address: Address): Promise<Client> {
  const pending = new Pending()
  const socket = await dial(address, pending)
  let nextId = 1
  socket.on(
    'data',
    frameReader(({ id, kind, body }) => pending.settle(id, kind === FAILED ? body.toString() : undefined)),
  )
  const send = (encode: (id: number) => Buffer, done: Done) => {
    const id = nextId++
    if (socket.destroyed) return done('the connection was closed')
    pending.add(id, done)
    socket.write(encode(id))
  }
  return {
    write: (key, value, done) => send((id) => encodeWrite(id, key, value), done),
    read: (key, done) => send((id) => encodeFrame(id, READ, Buffer.from(key)), done),
    close: () => void socket.destroy(),
  }
}
