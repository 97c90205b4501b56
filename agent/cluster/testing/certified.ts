import type { TLSSocket } from 'node:tls'
import { type ClusterDouble, LogDouble } from '../../services/testing/cluster-double.ts'
import { CaRotation } from '../ca-rotation.ts'
import { Certificates } from '../certificates.ts'
import {
  bundle,
  createKeyAndRequest,
  type Credentials,
  type Pair,
  renewNode,
  signNode,
} from '../identity/ca.ts'
import { KeyRing } from '../identity/key-ring.ts'
import { newClusterKey, newToken, seal } from '../identity/seal.ts'
import { RenewalDoor } from '../renewal-door.ts'
import { nodeIdOf } from '../rules/members.ts'
import { caKeyContext } from '../sealed.ts'
import { ClusterSigner } from '../signer.ts'
import type { State } from '../state.ts'
import { cluster, later, startAgent, type TestAgent, theCa } from '../wire/testing/agent.ts'
import { dropDistrusted } from '../wire/tls.ts'

/** A member with its port and its certificate, as an agent puts them together, on a log without Raft. */
export interface Certified {
  readonly member: number
  readonly agent: TestAgent
  readonly certificates: Certificates
  readonly rotation: CaRotation
  readonly cluster: ClusterDouble
  /** What lies on its disk. */
  readonly disk: () => Credentials
  /** Undefined: its state is as new as the log. */
  behind: State | undefined
}

const clusterKey = newClusterKey()

/** A cluster of so many members that is founded with `theCa`; all of them have the cluster key but the last. */
export async function certified(members: number): Promise<{ log: LogDouble; ca: Pair; all: Certified[] }> {
  const ca = await theCa()
  const log = new LogDouble()
  later(() => log.close())
  log.propose(
    {
      type: 'cluster.create', id: cluster, name: 'lab', ca: ca.cert,
      sealed_ca_key: seal(clusterKey, ca.key, caKeyContext(cluster)),
      admin: { name: 'admin', password_hash: 'x' }, node: { name: 'host-1', address: '127.0.0.1:1' },
    },
    { kind: 'system' },
  ) // prettier-ignore
  for (let at = 2; at <= members; at++) {
    const { sha256 } = newToken()
    const expires_at = '2030-01-01T00:00:00.000Z'
    log.propose({ type: 'joinToken.create', sha256, expires_at }, { kind: 'system' })
    log.propose({ type: 'node.join', token_sha256: sha256, name: `host-${at}`, address: '127.0.0.1:1' }, { kind: 'system' }) // prettier-ignore
  }
  const ports = new Map<number, string>()
  const all: Certified[] = []
  for (let member = 1; member <= members; member++) {
    const made = await start(log, member, member < members ? clusterKey : undefined, ports)
    ports.set(member, `127.0.0.1:${made.agent.port}`)
    all.push(made)
  }
  for (const one of all) await one.certificates.look()
  return { log, ca, all }
}

/** A certificate for a key of one's own, as whoever has the authority's key can make one in anybody's name. */
export async function forged(ca: Pair, member: number, links: readonly string[] = []): Promise<Credentials> {
  const { key, request } = await createKeyAndRequest()
  const cert = await signNode({ ca, request, cluster, member, name: `host-${member}`, ips: [] })
  return { ca: ca.cert, cert: bundle(cert, ...links), key }
}

/** A certificate of this authority for the key of another. */
export const resigned = (ca: Pair, cert: string, member: number): Promise<string> =>
  renewNode(cert, { ca, cluster, member, name: `host-${member}`, ips: [] })

async function start(
  log: LogDouble,
  member: number,
  key: Buffer | undefined,
  state: ReadonlyMap<number, string>,
): Promise<Certified> {
  const double = log.agent(nodeIdOf(member))
  const first = await forged(await theCa(), member)
  const held = { disk: first, wire: first }
  const dialled = new Set<TLSSocket>()
  const own = () => made.behind ?? double.state()
  const keys = new KeyRing(
    key ? [key] : [],
    () => undefined,
    async () => undefined,
  )
  const signer = new ClusterSigner(own, keys.current)
  const doors: { renew?: RenewalDoor; certificates?: Certificates } = {}
  const agent = await startAgent(member, {
    state,
    credentials: first,
    self: { credentials: () => held.wire, dialled, metNewer: () => doors.certificates?.metNewer() },
    listener: { renew: (socket) => doors.renew?.answer(socket) },
  })
  agent.peers.serve('/hello', async (from, _request, response) => void response.end(from))
  const node = nodeIdOf(member)
  const certificates = new Certificates({
    credentials: first,
    self: agent.self,
    state: own,
    voters: () => [...log.state.nodes.values()].map((row) => row.member),
    addresses: agent.book,
    signer,
    keep: async (next) => void (held.disk = next),
    report: (mine) => double.propose({ type: 'node.certificate', node, ...mine }, { kind: 'node', node }),
    log: agent.lines.log,
  })
  later(() => certificates.stop())
  certificates.onRenewed((next, distrusts) => {
    held.wire = next
    agent.listener.reload(next)
    if (!distrusts) return
    agent.listener.distrust(next)
    dropDistrusted(dialled, next)
  })
  doors.certificates = certificates
  doors.renew = new RenewalDoor({ self: agent.self, state: own, signer, log: agent.lines.log })
  const made: Certified = {
    member, agent, certificates, cluster: double, behind: undefined,
    rotation: new CaRotation({ cluster: double, keys }),
    disk: () => held.disk,
  } // prettier-ignore
  double.onApplied(({ changed }) => {
    if (changed.has('cluster') && !made.behind) void certificates.look()
  })
  return made
}

/** Does one member get an answer from the other, on a connection of now? */
export async function reaches(from: Certified, to: Certified): Promise<boolean> {
  from.agent.peers.forget(to.member)
  try {
    const answer = await from.agent.peers.request(nodeIdOf(to.member), { method: 'GET', path: '/hello' })
    answer.body.resume()
    return answer.status === 200
  } catch {
    return false
  }
}
