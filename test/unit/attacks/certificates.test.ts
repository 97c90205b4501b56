import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import { text } from 'node:stream/consumers'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Credentials, renewNode } from '../../../agent/cluster/identity/ca.ts'
import { RenewalDoor } from '../../../agent/cluster/renewal-door.ts'
import { Roster } from '../../../agent/cluster/roster.ts'
import { cleanUp, closed, cluster, credentialsOf, Inbox, later, startAgent, type TestAgent, theCa } from '../../../agent/cluster/wire/testing/agent.ts' // prettier-ignore
import { alpn } from '../../../agent/cluster/wire/tls.ts'
import { createLog } from '../../../agent/http/log.ts'
import { createHttp } from '../../../agent/http/server.ts'
import { createServices } from '../../../agent/services/index.ts'
import { World } from '../../../agent/services/testing/world.ts'
import { encodeMessage, frame, type Message } from '../../../raft/index.ts'

/** An agent's port as it is put together in earnest, and the certificate that lies on the third node's disk. */
interface Scene {
  readonly world: World
  readonly agent: TestAgent
  readonly messages: Inbox<Message>
  readonly asked: Inbox<string>
  readonly stolen: Credentials
}

let scene: Scene
beforeEach(async () => {
  const world = await World.create(3)
  later(() => world.close())
  const roster = new Roster(world.cluster)
  const services = createServices(world.deps())
  later(() => services.close())
  const http = await createHttp({ services, log: createLog('silent'), hosts: [], consoleFolder: '/none' })
  later(() => http.close())
  const door: { renew: (socket: TLSSocket) => void } = { renew: (socket) => void socket.destroy() }
  const agent = await startAgent(1, {
    admits: (member) => roster.admits(member),
    handler: http.handler,
    listener: { renew: (socket) => door.renew(socket) },
  })
  const renewals = await doorOf(world, agent)
  door.renew = (socket) => renewals.answer(socket)
  roster.onGone((member) => {
    agent.transport.forget(member)
    agent.peers.forget(member)
    agent.listener.forget(member)
  })
  const [messages, asked] = [new Inbox<Message>(), new Inbox<string>()]
  agent.transport.onMessage(messages.add)
  for (const prefix of ['/blobs/', '/streams/', '/propose', '/admit', '/cluster-key'])
    agent.peers.serve(prefix, async (from, request, response) => {
      asked.add(`${from} ${request.url}`)
      response.end('served')
    })
  scene = { world, agent, messages, asked, stolen: await credentialsOf(3) }
})
afterEach(cleanUp)

/** Renewal as a voter does it, on the state of this world. */
async function doorOf(world: World, { self, lines }: TestAgent): Promise<RenewalDoor> {
  const ca = await theCa()
  const row = world.log.state.cluster.get('self')
  const state = () => ({ ...world.log.state, cluster: world.log.state.cluster.set('self', { ...row, ca: ca.cert } as NonNullable<typeof row>) }) // prettier-ignore
  const renew = (cert: string, of: { member: number; name: string }) => renewNode(cert, { ca, cluster, ...of, ips: [] }) // prettier-ignore
  return new RenewalDoor({ self, state, signer: { renew }, log: lines.log })
}

const remove = () =>
  scene.world.log.propose({ type: 'node.remove', node: 'node-3', force: true }, { kind: 'system' })

async function dialled(protocol: string): Promise<TLSSocket> {
  const { agent, stolen } = scene
  const socket = connect({ host: '127.0.0.1', port: agent.port, ...stolen, ALPNProtocols: [protocol], checkServerIdentity: () => undefined }) // prettier-ignore
  socket.on('error', () => undefined)
  later(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

const framed = (bytes: Uint8Array) => frame(bytes.length, (w) => w.raw(bytes))
const hello = framed(Buffer.from(JSON.stringify({ protocol: 1, cluster, member: 3, address: '127.0.0.1:1' })))
const vote: Message = { type: 'heartbeat', from: 3, to: 1, term: 99, commit: 0, read: 0 }

/** A stream of raft's with a message of another term on it: who is heard here can unseat a leader. */
async function speakRaft(): Promise<TLSSocket> {
  const socket = await dialled(alpn.raft)
  socket.write(hello)
  socket.write(framed(encodeMessage(vote)))
  return socket
}

async function ask(path: string, socket?: TLSSocket): Promise<[number, string]> {
  const through = socket ?? (await dialled(alpn.peer))
  const sent = httpRequest({ createConnection: () => through, path, headers: { host: 'node-1' } })
  sent.end()
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  return [answer.statusCode ?? 0, await text(answer)]
}

describe('attack: the certificate and key of a node that was removed', () => {
  it('open everything before, so that what follows proves something', async () => {
    await speakRaft()
    expect(await scene.messages.first()).toEqual(vote)
    expect(await ask('/blobs/abc')).toEqual([200, 'served'])
    expect(scene.asked.all).toEqual(['node-3 /blobs/abc'])
    expect(JSON.parse(await text(await dialled(alpn.renew)))).toHaveProperty('certificate')
  })

  it.each([alpn.raft, alpn.snapshot])('are dropped on %s before a byte is read', async (protocol) => {
    remove()
    const socket = await dialled(protocol)
    socket.write(hello)
    socket.write(framed(encodeMessage(vote)))
    await closed(socket)
    expect(await scene.agent.lines.with('refused a connection')).toContain('member 3 is not in the cluster')
    expect(scene.messages.all).toEqual([])
  })

  it('ask other agents for nothing: files, logs, proposals, admissions, keys', async () => {
    remove()
    for (const path of ['/blobs/abc', '/streams/abc', '/propose', '/admit', '/cluster-key', '/nothing']) {
      const [status, answer] = await ask(path)
      expect([path, status, (JSON.parse(answer) as { code: string }).code]).toEqual([path, 410, 'removed'])
    }
    expect(scene.asked.all).toEqual([])
  })

  it('are not renewed', async () => {
    remove()
    const answer = JSON.parse(await text(await dialled(alpn.renew))) as object
    expect(answer).toEqual({ refused: 'member 3 is not in the cluster' })
  })

  it('keep no connection that was open, nor one that was still saying hello', async () => {
    const [stream, silent, peer] = [await speakRaft(), await dialled(alpn.raft), await dialled(alpn.peer)]
    await scene.messages.first()
    expect((await ask('/blobs/abc'))[0]).toBe(200)
    // All three have been taken: each has its hello or its request behind it, or waits for one.
    await vi.waitFor(() => expect(scene.agent.listener.open(3)).toBeGreaterThanOrEqual(3))
    remove()
    await Promise.all([closed(stream), closed(silent), closed(peer)])
    expect(scene.messages.all).toEqual([vote])
  })

  it('are nobody where people are served, before and after', async () => {
    const status = async () => {
      const socket = await dialled('http/1.1')
      const headers = `Host: 127.0.0.1:${scene.agent.port}\r\nConnection: close`
      socket.write(`GET /api/v2/nodes HTTP/1.1\r\n${headers}\r\n\r\n`)
      return (await text(socket)).slice(0, 12)
    }
    expect(await status()).toBe('HTTP/1.1 401')
    remove()
    expect(await status()).toBe('HTTP/1.1 401')
  })
})
