import { Readable } from 'node:stream'
import type { Actor, ExperimentSpec, Inventory, JoinReply, Rank, Resources, Sharing, TeamRank } from '../../../contract/index.ts' // prettier-ignore
import { CaRotation } from '../../cluster/ca-rotation.ts'
import { createCa, type Pair } from '../../cluster/identity/ca.ts'
import { KeyRing } from '../../cluster/identity/key-ring.ts'
import { newClusterKey, newToken, open, seal } from '../../cluster/identity/seal.ts'
import { caKeyContext } from '../../cluster/sealed.ts'
import type { Kept } from '../../cluster/state.ts'
import { createDockerSubmitter } from '../../submitters/docker.ts'
import type { ServiceDeps } from '../context.ts'
import { type ClusterDouble, LogDouble } from './cluster-double.ts'
import { BlobsDouble, SpaceDouble, StreamsDouble } from './store-double.ts'

export const GiB = 1024 ** 3
export const admin: Actor = { kind: 'user', name: 'admin', rank: 'admin' }
export const password = 'correct horse'
const system: Actor = { kind: 'system' }

let ca: Promise<Pair> | undefined
/** Keys take a while to make; one certificate does for all tests of a file. */
const caOnce = () => (ca ??= createCa('lab'))

const inventory: Inventory = {
  hostname: 'host', os: 'Debian 13', kernel: '6.12', arch: 'x64', cpu: { model: 'cpu', cores: 8 }, memory: 16 * GiB,
  disk: { path: '/', total: 500 * GiB, free: 400 * GiB }, gpus: [], docker: null, runtimes: ['docker'],
  default_image: 'base', agent_version: '0', node_version: '24',
} // prettier-ignore

export interface Report extends Partial<Inventory> {
  readonly allocatable?: Partial<Resources>
  readonly gpuIds?: readonly string[]
}

/** A cluster of doubles with an admin, as tests of services and of HTTP use it. */
export class World {
  readonly log = new LogDouble()
  readonly blobs: BlobsDouble
  readonly streams = new StreamsDouble()
  readonly space = new SpaceDouble()
  /** The cluster's. */
  readonly key = newClusterKey()
  /** Wall clock of sign-ins, ms. */
  now = Date.parse('2026-03-01T08:00:00.000Z')
  readonly agents: ClusterDouble[]

  private constructor(nodes: number) {
    this.agents = Array.from({ length: nodes }, (_, at) => this.log.agent(`node-${at + 1}`))
    this.blobs = new BlobsDouble(nodes > 1 ? ['node-1', 'node-2'] : ['node-1'])
    this.streams.copies = Math.min(nodes, 2)
  }

  static async create(nodes = 3): Promise<World> {
    const world = new World(nodes)
    const ca = await caOnce()
    world.log.propose(
      {
        type: 'cluster.create', id: 'c-1', name: 'lab', ca: ca.cert, sealed_ca_key: seal(world.key, ca.key, caKeyContext('c-1')),
        admin: { name: 'admin', password_hash: password }, node: { name: 'host-1', address: '10.0.0.1:7460' },
      },
      system,
    ) // prettier-ignore
    for (let at = 2; at <= nodes; at++) world.join(`host-${at}`, `10.0.0.${at}:7460`)
    for (let at = 1; at <= nodes; at++) world.report(`node-${at}`)
    return world
  }

  get cluster(): ClusterDouble {
    return this.agents[0] as ClusterDouble
  }

  deps(agent = this.cluster, more: Partial<ServiceDeps> = {}): ServiceDeps {
    return {
      cluster: agent,
      blobs: this.blobs,
      streams: this.streams,
      space: this.space,
      submitter: createDockerSubmitter(agent),
      // The hash of a double's password is the password.
      verifyPassword: async (given, hashed) => given === hashed,
      hashPassword: async (given) => given,
      seal: async (text, context) => seal(this.key, text, context),
      open: async (sealed, context) => open(this.key, sealed, context),
      backup: async () => Readable.from([Buffer.from('a backup')]),
      admit: async ({ name }): Promise<JoinReply> => ({
        cluster: { id: 'c-1', name: 'lab' }, member: 9, node: name, certificate: 'PEM', ca: 'PEM', peers: [],
      }),
      rotateKey: async () => undefined,
      authority: new CaRotation({ cluster: agent, keys: new KeyRing([this.key], () => undefined, async () => undefined) }),
      families: () => [],
      version: '0.1.0',
      demo: false,
      now: () => this.now,
      ...more,
    } // prettier-ignore
  }

  join(name: string, address: string): void {
    const { sha256 } = newToken()
    const expires_at = '2030-01-01T00:00:00.000Z'
    this.log.propose({ type: 'joinToken.create', sha256, expires_at }, system)
    this.log.propose({ type: 'node.join', token_sha256: sha256, name, address }, system)
  }

  report(node: string, { allocatable, gpuIds = [], ...found }: Report = {}): void {
    const address = this.log.state.nodes.get(node)?.address ?? ''
    const all = { cpu: 8, memory: 16 * GiB, gpu: gpuIds.length, disk: 100 * GiB, ...allocatable }
    this.log.propose(
      { type: 'node.report', node, address, inventory: { ...inventory, ...found }, allocatable: all, gpus: gpuIds },
      { kind: 'node', node },
    ) // prettier-ignore
  }

  /** A bearer token of the admin. */
  signIn(user = 'admin'): string {
    const { token, sha256 } = newToken()
    const expires_at = new Date(this.now + 3600_000).toISOString()
    this.log.propose({ type: 'token.create', sha256, user, expires_at }, system)
    return token
  }

  /** A person whose password is their name. */
  addUser(name: string, rank: Rank = 'member'): void {
    this.log.propose({ type: 'user.create', name, rank, password_hash: name }, admin)
  }

  addTeam(name: string, members: Readonly<Record<string, TeamRank>> = {}): void {
    this.log.propose({ type: 'team.put', name, change: {} }, admin)
    for (const [user, rank] of Object.entries(members))
      this.log.propose({ type: 'team.member', team: name, user, rank }, admin)
  }

  apiToken(user: string, more: { id?: string; scopes?: readonly string[]; hours?: number } = {}): string {
    const { token, sha256 } = newToken()
    const { id = 'tok', scopes = ['*'], hours = 1 } = more
    const expires_at = new Date(this.now + hours * 3600_000).toISOString()
    this.log.propose(
      { type: 'token.create', kind: 'api', sha256, user, expires_at, id, scopes, name: id },
      system,
    )
    return token
  }

  submit(
    id: string,
    more: { name?: string; replicas?: number; owner?: string; team?: string; sharing?: Sharing } = {},
  ): string[] {
    const { name = id, replicas = 1, owner = 'admin', team, sharing } = more
    const resources = { cpu: 1, memory: GiB, gpu: 0, disk: 0 }
    const roles = { worker: { replicas, resources, command: ['true'], env: {} } }
    const spec: ExperimentSpec = { name, type: 'script', tags: [], roles, ...(team ? { team } : {}) }
    this.log.propose({ type: 'experiment.create', id, spec, owner }, admin)
    if (sharing) this.log.propose({ type: 'experiment.share', id, sharing }, admin)
    return [...(this.log.state.experiments.get(id)?.tasks ?? [])]
  }

  /** Place the experiment's tasks on `node` and have them run; answers a bearer token for each. */
  run(id: string, node = 'node-1'): string[] {
    const tasks = this.log.state.experiments.get(id)?.tasks ?? []
    const attempt = (task: string) => (this.log.state.tasks.get(task)?.attempt ?? 0) + 1
    const runtime = 'docker'
    const placements = tasks.map(
      (task) => ({ task, attempt: attempt(task), node, runtime, gpus: [] }) as const,
    )
    this.log.propose({ type: 'workload.place', id, placements }, system)
    return placements.map((placement) => {
      const { token, sha256 } = newToken()
      const { task } = placement
      const report = { type: 'task.report', task, attempt: placement.attempt, node } as const
      const started_at = '2026-03-01T08:00:00.000Z'
      this.log.propose(
        { ...report, state: 'Running', token_sha256: sha256, started_at },
        { kind: 'node', node },
      )
      return token
    })
  }

  finish(task: string, kept: { log?: Kept; metrics?: Kept; artifacts?: Kept } = {}): void {
    const { attempt = 0, node } = this.log.state.tasks.get(task) ?? {}
    this.log.propose(
      {
        type: 'task.report', task, attempt, node: node ?? '', state: 'Succeeded', exit_code: 0,
        finished_at: '2026-03-01T09:00:00.000Z', ...kept,
      },
      { kind: 'node', node: node ?? '' },
    ) // prettier-ignore
  }

  /** Put files into the blob double and answer what a node reports of them. */
  keep(files: Record<string, string>): Kept {
    const lines = Object.entries(files).map(([path, content]) => ({ path, ...this.blobs.add(content) }))
    const manifest = this.blobs.add(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    const bytes = lines.reduce((sum, line) => sum + line.bytes, 0)
    return { files: lines.length, bytes, sha256: manifest.sha256, holders: ['node-1', 'node-2'] }
  }

  close(): Promise<void> {
    return this.log.close()
  }
}
