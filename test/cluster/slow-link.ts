import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { pipeline, Transform } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

/** A host's network link: what goes through it, to and from a port of this machine, is counted and held to a rate. */
export class SlowLink {
  /** Bytes a second, each way. */
  rate: number
  /** Bytes so far from the host, and to it. */
  sent = 0
  received = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(target: number, rate: number) {
    this.rate = rate
    const [out, into] = [new Turnstile(() => this.rate), new Turnstile(() => this.rate)]
    this.#server = createServer((client) => {
      const host = connect(target, '127.0.0.1')
      for (const socket of [client, host]) {
        this.#sockets.add(socket)
        socket.on('close', () => this.#sockets.delete(socket)).on('error', () => undefined)
      }
      const end = () => [client, host].forEach((socket) => socket.destroy())
      pipeline(client, into.through((bytes) => (this.received += bytes)), host, end) // prettier-ignore
      pipeline(
        host,
        out.through((bytes) => (this.sent += bytes)),
        client,
        end,
      )
    })
  }

  static async open(target: number, rate = Infinity): Promise<SlowLink> {
    const link = new SlowLink(target, rate)
    link.#server.listen(0, '127.0.0.1')
    await once(link.#server, 'listening')
    return link
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address ? address.port : 0
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** Lets chunks of any number of connections through one after the other, as fast as the rate allows. */
class Turnstile {
  readonly #rate: () => number
  #free = performance.now()

  constructor(rate: () => number) {
    this.#rate = rate
  }

  through(count: (bytes: number) => void): Transform {
    return new Transform({
      highWaterMark: 64 * 1024,
      transform: (chunk: Buffer, _encoding, done) => {
        void this.#wait(chunk.length).then(() => {
          count(chunk.length)
          done(null, chunk)
        })
      },
    })
  }

  async #wait(bytes: number): Promise<void> {
    const now = performance.now()
    this.#free = Math.max(now, this.#free) + (bytes / this.#rate()) * 1000
    if (this.#free - now >= 1) await delay(this.#free - now)
  }
}
