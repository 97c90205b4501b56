import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { ProblemError, type RuntimeName, type Usage } from '../contract/index.ts'
import { DiskStore, RaftDriver, levelDisk, systemEnv } from '../raft/index.ts'
import { addressesOf } from './address.ts'
import { Admission } from './cluster/admission.ts'
import { CaRotation } from './cluster/ca-rotation.ts'
import { Certificates } from './cluster/certificates.ts'
import { forgetFounding, readFounding } from './cluster/entry/found.ts'
import { type DataFolder, writeClusterKeys, writeCredentials } from './cluster/identity/data-folder.ts'
import { hashPassword, verifyPassword } from './cluster/identity/seal.ts'
import { keepFresh } from './cluster/freshness.ts'
import { HealthLog } from './cluster/health-log.ts'
import { KeyRing } from './cluster/identity/key-ring.ts'
import { KeyHandover } from './cluster/key-handover.ts'
import { keepCurrent, KeyRotation } from './cluster/key-rotation.ts'
import { Member } from './cluster/member.ts'
import { Membership } from './cluster/membership.ts'
import { fetchImage, serveImage, useImage } from './cluster/rebuild.ts'
import { ReplicaCheck } from './cluster/replica-check.ts'
import { formatAddress } from './cluster/identity/address.ts'
import { RenewalDoor } from './cluster/renewal-door.ts'
import { Roster } from './cluster/roster.ts'
import { nodeIdOf } from './cluster/rules/members.ts'
import { Sealer } from './cluster/sealer.ts'
import { ClusterSigner } from './cluster/signer.ts'
import { ClusterStateMachine } from './cluster/state-machine.ts'
import { type State, theCluster } from './cluster/state.ts'
import { NodeWatch } from './cluster/node-watch/watch.ts'
import { AddressBook } from './cluster/wire/address-book.ts'
import { Heartbeat } from './cluster/wire/heartbeat.ts'
import { Renewals } from './cluster/wire/renewals.ts'
import { Listener } from './cluster/wire/listener.ts'
import { PeerWire } from './cluster/wire/peers.ts'
import { alpn, dropDistrusted } from './cluster/wire/tls.ts'
import { RaftTransport } from './cluster/wire/raft-transport.ts'
import { departure } from './departure.ts'
import { createHttp } from './http/server.ts'
import { httpServers, listenLoopback } from './listeners.ts'
import { GpuWatch } from './node/detect/gpu-watch.ts'
import { amd, nvidia } from './node/detect/gpus.ts'
import { detectInventory } from './node/detect/inventory.ts'
import { KernelLog } from './node/detect/kernel-log.ts'
import { defaultThreshold, ProcessOwners } from './node/detect/processes.ts'
import { NodeReporter } from './node/detect/reporter.ts'
import { UsageReader } from './node/detect/usage.ts'
import { defaultDockerSocket, DockerEngine } from './node/docker/engine.ts'
import { DockerRuntime } from './node/docker/runtime.ts'
import { taskHost } from './node/docker/spec.ts'
import { openImages } from './node/images/open.ts'
import { ProcessRuntime } from './node/process/runtime.ts'
import { sinceBoot } from './node/lease/deadlines.ts'
import { LeaseGuard } from './node/lease/guard.ts'
import { oursOn } from './node/ours.ts'
import { NodeReconciler } from './node/reconcile.ts'
import type { Runtime } from './node/runtime.ts'
import type { AgentOptions } from './options.ts'
import { Strangers } from './cluster/audit/strangers.ts'
import { Backups } from './recovery/backups.ts'
import { createMonitor, type Monitor } from './monitoring/monitor.ts'
import { Planner } from './scheduler/planner.ts'
import { surroundingsOf } from './scheduler/surroundings.ts'
import { createServices } from './services/index.ts'
import { LocalBlobs } from './store/blobs.ts'
import { Incoming } from './store/incoming.ts'
import { Keeper } from './store/keeper.ts'
import { ReplicatedBlobs } from './store/replicated-blobs.ts'
import { ReplicatedStreams } from './store/replicated-streams.ts'
import { DiskSpace } from './store/space.ts'
import { StateDamaged, StateDb } from './store/state-db.ts'
import { LocalStreams } from './store/streams.ts'
import { createDockerSubmitter } from './submitters/docker.ts'
import { shippedFiles } from './shipped-files.ts'
import { agentVersion } from './version.ts'

/** After so long without an answer to its heartbeats an agent asks by itself how old its copy of the state is. */
const heartbeatSilenceMs = 3_000

export interface RunningAgent {
  readonly folder: DataFolder
  readonly advertise: string
  readonly loopback: string | undefined
  /** Resolves to the founder's password once the cluster is in the log; undefined for everybody else. */
  readonly founded: Promise<string | undefined>
  /** Resolves when this replica's state is to be made anew: stop it and start it again. */
  readonly outdated: Promise<void>
  /** Resolves when this node was removed from the cluster and its tasks are ended: it must not go on. */
  readonly removed: Promise<void>
  /** Leaves tasks running; the next start finds them again. */
  stop(): Promise<void>
}

/** What was started, so that it ends in the opposite order, also when a later part fails to start. */
class Started {
  readonly #ends: (() => unknown)[] = []
  add<T>(part: T, end: (part: T) => unknown): T {
    this.#ends.push(() => end(part))
    return part
  }
  async stop(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end()
  }
}

/** What of a host may be brought along: an agent is measured without engines by giving it some that only pretend. */
export interface HostParts {
  readonly runtimes: readonly Runtime[]
}

/** What every part is made of. */
interface Basis {
  readonly folder: DataFolder
  readonly options: AgentOptions
  readonly log: Logger
  readonly onFatal: (error: Error) => void
  readonly host: Partial<HostParts>
  readonly started: Started
  readonly address: ReturnType<typeof addressesOf>
}

/** The agent, wired. The only place that knows every room. */
export async function compose(
  folder: DataFolder,
  options: AgentOptions,
  log: Logger,
  onFatal: (error: Error) => void,
  host: Partial<HostParts> = {},
): Promise<RunningAgent> {
  const started = new Started()
  started.add(folder, (it) => it.close())
  const basis: Basis = { folder, options, log, onFatal, host, started, address: addressesOf(options) }
  try {
    const stores = await openStores(basis)
    const wire = await openWire(basis, stores)
    const core = await openCluster(basis, stores, wire)
    const kept = await openKept(basis, stores, wire, core.cluster)
    const host = await openHost(basis, stores, wire, core, kept)
    const monitor = openMonitor(basis, wire, core, host)
    const loopback = await openDoors(basis, stores, wire, core, kept, monitor)
    const begun = await begin(basis, stores, wire, core, kept, host, monitor, loopback)
    const outdated = watchReplicas(basis, stores, core)
    return {
      folder,
      advertise: basis.address.advertise,
      loopback,
      ...begun,
      outdated,
      stop: () => started.stop(),
    }
  } catch (error) {
    await started.stop()
    throw error
  }
}

type Stores = Awaited<ReturnType<typeof openStores>>
type Wire = Awaited<ReturnType<typeof openWire>>
type Core = Awaited<ReturnType<typeof openCluster>>
type Kept = Awaited<ReturnType<typeof openKept>>
type Host = Awaited<ReturnType<typeof openHost>>

/** The log and the state, as this member left them. */
async function openStores({ folder, options, log, started }: Basis) {
  const { folders, identity, path } = folder
  const floor = options.diskFloor === undefined ? {} : { floor: options.diskFloor }
  const space = started.add(await DiskSpace.open(path, floor), (it) => it.close())
  const raftLog = await DiskStore.open(levelDisk(folders.log), {
    id: identity.member,
    clusterId: identity.cluster,
  })
  await useImage(path, folders.state, raftLog, log)
  const { machine, damage } = await openMachine(folders.state, log)
  started.add(machine, (it) => it.close())
  return { space, machine, damage, raftLog, nodes: () => machine.state.nodes }
}

/** A state that was damaged on disk is set aside: the log, which was not, has everything it was made of. */
async function openMachine(
  folder: string,
  log: Logger,
): Promise<{ machine: ClusterStateMachine; damage?: string }> {
  const open = async () => ClusterStateMachine.open(await StateDb.open(folder))
  try {
    return { machine: await open() }
  } catch (error) {
    if (!(error instanceof StateDamaged)) throw error
    log.error({ err: error }, 'the state is damaged on disk: it is made again from the log')
    await rm(`${folder}.damaged`, { recursive: true, force: true })
    await rename(folder, `${folder}.damaged`)
    return { machine: await open(), damage: error.message }
  }
}

/** The one port and the connections to the other agents. It opens when there is something to answer. */
async function openWire({ folder, log, started, address }: Basis, { nodes }: Stores) {
  const { identity } = folder
  // Renewed while the agent runs.
  const held = { credentials: folder.credentials }
  const addresses = await AddressBook.open({
    data: folder.path,
    state: () => new Map([...nodes().values()].map((node) => [node.member, node.address])),
    log,
  })
  const self = {
    cluster: identity.cluster,
    member: identity.member,
    credentials: () => held.credentials,
    advertised: () => address.advertise,
    dialled: new Set<TLSSocket>(),
    metNewer: () => gate.metNewer(),
  }
  // A member that has just joined knows the others by their ids alone.
  const memberOf = (node: string) => nodes().get(node)?.member ?? memberIn(node)
  // Asked from the first connection on, and that is after the cluster is open.
  const gate = {
    admits: (_member: number): boolean => false,
    renew: (socket: TLSSocket): void => void socket.destroy(),
    metNewer: (): void => undefined,
  }
  const admits = (member: number) => gate.admits(member)
  const peers = started.add(
    new PeerWire({ self, addresses, nodeOf: nodeIdOf, memberOf, admits, log }),
    (it) => it.close(),
  )
  const transport = new RaftTransport({ self, addresses, random: () => systemEnv.random(), log })
  started.add(transport, (it) => it.close())
  const http = started.add(httpServers(), (it) => it.close())
  const listener = new Listener({
    credentials: held.credentials,
    cluster: identity.cluster,
    http1: http.http1,
    http2: http.http2,
    wire: {
      [alpn.raft]: (socket, member) => transport.accept(socket, member),
      [alpn.snapshot]: (socket, member) => transport.acceptSnapshot(socket, member),
      [alpn.peer]: (socket, member) => peers.accept(socket, member),
    },
    renew: (socket) => gate.renew(socket),
    admits,
    log,
  })
  return { self, addresses, peers, transport, http, listener, gate, held }
}

/** Raft, and the member of the cluster that stands on it. */
async function openCluster(basis: Basis, { machine, raftLog }: Stores, wire: Wire) {
  const { folder, log, onFatal, started } = basis
  const { member } = folder.identity
  const raft = await RaftDriver.open({
    id: member,
    store: raftLog,
    transport: wire.transport,
    stateMachine: machine,
    onFatal,
    log: {
      info: (message, fields) => log.info(fields ?? {}, message),
      warn: (message, fields) => log.warn(fields ?? {}, message),
    },
  })
  started.add(raft, (it) => it.close())
  const cluster = new Member(member, raft, machine, wire.peers)
  const roster = new Roster(cluster)
  wire.gate.admits = (other) => roster.admits(other)
  roster.onGone((other) => {
    wire.transport.forget(other)
    wire.peers.forget(other)
    wire.listener.forget(other)
  })
  const inUse = () => machine.state.cluster.get(theCluster)?.key
  const keys = new KeyRing(folder.clusterKeys, inUse, (all) => writeClusterKeys(folder.path, all))
  keepCurrent(cluster, keys, log)
  const handover = new KeyHandover(cluster, keys)
  // Who makes voters begins later, when everything can be asked.
  const voters: { membership?: Membership } = {}
  const rotation = new KeyRotation({
    cluster,
    keys,
    handover,
    alone: (work) => {
      if (!voters.membership) throw new ProblemError('busy', 'this agent is just starting')
      return voters.membership.alone(work)
    },
  })
  const signer = new ClusterSigner(() => machine.state, keys.current)
  await keepCertified(basis, wire, raft, cluster, signer)
  const authority = new CaRotation({ cluster, keys })
  const backups = new Backups({
    cluster,
    image: () => machine.snapshot(),
    clusterKey: keys.current,
    version: agentVersion,
  })
  const sealer = new Sealer(cluster, keys)
  const admission = new Admission(cluster, signer)
  return { raft, cluster, roster, handover, rotation, authority, voters, backups, sealer, admission }
}

/** Before anybody is dialled a voter that was off for long has a new certificate; all others ask for theirs. */
async function keepCertified(
  { folder, log, started }: Basis,
  { self, addresses, listener, gate, held }: Wire,
  raft: RaftDriver,
  cluster: Member,
  signer: ClusterSigner,
): Promise<void> {
  const state = () => cluster.state()
  const { node } = cluster.self
  const certificates = new Certificates({
    credentials: held.credentials,
    self,
    state,
    voters: () => votersOf(raft, state()),
    addresses,
    signer,
    report: (held) => cluster.propose({ type: 'node.certificate', node, ...held }, { kind: 'node', node }),
    keep: (credentials) => writeCredentials(folder.path, credentials),
    log,
  })
  certificates.onRenewed((credentials, distrusts) => {
    held.credentials = credentials
    listener.reload(credentials)
    if (!distrusts) return
    listener.distrust(credentials)
    dropDistrusted(self.dialled, credentials)
  })
  const door = new RenewalDoor({ self, state, signer, log })
  gate.renew = (socket) => door.answer(socket)
  gate.metNewer = () => certificates.metNewer()
  cluster.onApplied(({ changed, restored }) => {
    if (restored || changed.has('cluster') || changed.get('nodes')?.has(node)) void certificates.look()
  })
  const looked = certificates.look()
  if (folder.clusterKeys.length > 0) await looked
  started.add(certificates, (it) => it.stop()).start()
}

/** The leader first, if one is known; then whoever else votes, or is a member at all. */
function votersOf(raft: RaftDriver, { nodes }: Pick<State, 'nodes'>): number[] {
  const { leader, conf } = raft.status()
  const all = [...nodes.values()].map(({ member }) => member)
  return [...new Set([...(leader ? [leader] : []), ...conf.voters, ...all])]
}

/** What is kept beside the log: files and streams, here and on a second node. */
async function openKept(
  { folder, log, started }: Basis,
  { space, nodes }: Stores,
  { peers }: Wire,
  cluster: Member,
) {
  const group = { peers, self: cluster.self.node, nodes: () => [...nodes().keys()] }
  const local = await LocalBlobs.open(folder.path, space)
  const blobs = new ReplicatedBlobs({ ...group, local })
  started.add(blobs, (it) => it.close())
  const streams = new ReplicatedStreams({ ...group, local: await LocalStreams.open(folder.path, space), log })
  started.add(streams, (it) => it.close())
  const incoming = await Incoming.open({ ...group, local, data: folder.path, space })
  started.add(incoming, (it) => it.close())
  return { blobs, streams, incoming }
}

/** What this host is, how loaded it is, and what runs tasks on it. */
async function openHost(
  { folder, options, log, started, address, host: brought }: Basis,
  { space, nodes }: Stores,
  { peers, addresses }: Wire,
  { cluster, sealer }: Core,
  { blobs, incoming }: Kept,
) {
  const { docker, dockerSocket, processRuntime, defaultImage = null, share } = options
  const engine = docker ? new DockerEngine(dockerSocket) : null
  const dataDir = folder.path
  const images =
    engine &&
    started.add(await openImages({ engine, cluster, blobs, incoming, sealer, dataDir, log }), (it) =>
      it.close(),
    )
  const runtimes: Runtime[] = []
  const gpus = gpuWatch(options, runtimes, () => void reporter.check())
  const detect = () =>
    detectInventory({
      dataDir,
      engine,
      processRuntime,
      defaultImage,
      agentVersion,
      gpus: async () => (await gpus.read()).gpus,
    })
  const advertised = () => address.advertise
  const reporter = new NodeReporter({
    cluster,
    detect,
    address: advertised,
    answered: (vendor) => gpus.state.answered.has(vendor),
    log,
    ...(share ? { share } : {}),
  })
  const usage = new UsageReader({
    dataDir,
    gpus,
    diskLow: () => space.low(),
    pulls: () => images?.pulls.list() ?? [],
  })
  let measured: Usage | null = null
  // The reconciler, which can end attempts, comes later.
  const host: { reconciler?: NodeReconciler } = {}
  const leases = new LeaseGuard({
    cluster,
    dataDir,
    dockerSocket: docker ? (dockerSocket ?? defaultDockerSocket) : null,
    expire: (task, attempt, graceSeconds) => host.reconciler?.expire(task, attempt, graceSeconds),
    log,
  })
  const renewals = started.add(new Renewals({ cluster, clock: sinceBoot }), (it) => it.stop())
  const renew = async () => {
    const asked = leases.hasLeases() ? await renewals.ask() : undefined
    if (asked !== undefined) leases.heard(asked)
  }
  let confirmed: { readonly at: number; readonly index: number } | undefined
  const confirm = async () => {
    const { isLeader } = cluster.status()
    // Those who follow hear it with the answers to their heartbeats, and ask themselves only when they do not.
    if (!isLeader && (cluster.staleMs() ?? Infinity) < heartbeatSilenceMs) return
    const asked = sinceBoot()
    await cluster.barrier()
    if (isLeader && cluster.status().isLeader) confirmed = { at: asked, index: cluster.status().applied }
  }
  const heartbeat = new Heartbeat({
    peers,
    addresses,
    self: cluster.self.node,
    leader: () => cluster.status().leader,
    nodes: () => [...nodes().keys()],
    usage: async () => (measured = await usage.read()),
    clock: () => performance.now(),
    lease: {
      office: () => (confirmed ? { ageMs: sinceBoot() - confirmed.at, index: confirmed.index } : null),
      told: (ageMs, index) => cluster.told(ageMs, index),
      heard: (at) => leases.heard(at),
      unheard: () => void renew(),
      sinceBoot,
    },
    log,
  })
  const owner = { cluster: folder.identity.cluster, node: cluster.self.node }
  const { formerly = [] } = folder.identity
  const network = isLoopback(address.host) ? 'host' : 'auto'
  if (engine && images) {
    const devices = () => gpus.state
    const options = {
      engine,
      owner,
      formerly,
      defaultImage,
      network,
      images: images.engine,
      devices,
    } as const
    const docker = new DockerRuntime(options)
    runtimes.push(docker)
    void docker.prepare()
  }
  if (brought.runtimes) runtimes.push(...brought.runtimes)
  else if (processRuntime)
    runtimes.push(new ProcessRuntime({ folder: join(dataDir, 'processes'), gpu: (uuid) => gpus.gpu(uuid) }))
  return { reporter, heartbeat, runtimes, images, leases, renewals, confirm, host, usage: () => measured }
}

/** What this agent counts, for whoever watches it. */
function openMonitor(
  { started }: Basis,
  { held }: Wire,
  { cluster, raft }: Core,
  { usage }: Pick<Host, 'usage'>,
): Monitor {
  return started.add(
    createMonitor({
      cluster,
      raftMetrics: () => raft.metrics(),
      usage,
      certificate: () => held.credentials.cert,
      version: agentVersion,
    }),
    (it) => it.stop(),
  )
}

function gpuWatch(
  { sharedGpus, foreignGpuMemory }: AgentOptions,
  runtimes: readonly Runtime[],
  onChange: () => void,
): GpuWatch {
  const owners = new ProcessOwners({
    ours: () => oursOn(runtimes),
    threshold: foreignGpuMemory ?? defaultThreshold,
  })
  const kernel = new KernelLog()
  return new GpuWatch({
    vendors: { nvidia: nvidia(), amd: amd() },
    owners: (devices) => owners.of(devices),
    kernelFaults: () => kernel.faults(),
    ...(sharedGpus ? { shared: sharedGpus } : {}),
    onChange,
  })
}

/** Open the doors to people and programs; answers the address on loopback, where that was asked for. */
async function openDoors(
  { folder, options, log, started, address }: Basis,
  { space }: Stores,
  { http, listener }: Wire,
  { cluster, admission, backups, sealer, rotation, authority }: Core,
  kept: Kept,
  monitor: Monitor,
): Promise<string | undefined> {
  const { demoFile, httpLoopback } = options
  const strangers = started.add(
    new Strangers({
      folder: join(folder.folders.node, 'refused'),
      node: cluster.self.node,
      propose: (note) => cluster.propose({ type: 'audit.note', notes: [note] }, { kind: 'system' }),
      log,
    }),
    (it) => it.close(),
  )
  const services = createServices({
    cluster,
    ...kept,
    space,
    submitter: createDockerSubmitter(cluster),
    verifyPassword,
    hashPassword,
    admit: (request) => admission.admit(request),
    seal: (text, context) => sealer.seal(text, context),
    open: (sealed, context) => sealer.open(sealed, context),
    backup: ({ key, kdf }) => backups.make({ key: Buffer.from(key, 'base64url'), kdf }),
    rotateKey: (actor) => rotation.rotate(actor),
    authority,
    families: () => monitor.families(),
    strangers: (note) => strangers.add(note),
    version: agentVersion,
    demo: demoFile !== undefined,
  })
  started.add(services, (it) => it.close())
  const hosts = [address.advertise, `${taskHost}:${address.port}`]
  const api = await createHttp({
    services,
    log,
    hosts,
    consoleFolder: shippedFiles.console,
    demoFile,
    answered: monitor.answered,
  })
  started.add(api, (it) => it.close())
  http.handle(api.handler)
  started.add(listener, (it) => it.close())
  await listener.listen(address.host, address.port)
  if (httpLoopback === undefined) return undefined
  const { port } = started.add(await listenLoopback(httpLoopback, api.handler), (it) => it.close())
  return `http://localhost:${port}`
}

/** Everything can be asked; now it begins to act. */
async function begin(
  { folder, options, log, onFatal, started, address }: Basis,
  { space }: Stores,
  { peers }: Wire,
  { cluster, raft, roster, handover, voters, sealer }: Core,
  kept: Kept,
  { reporter, heartbeat, runtimes, images, leases, renewals, confirm, host }: Host,
  monitor: Monitor,
  loopback: string | undefined,
): Promise<Pick<RunningAgent, 'founded' | 'removed'>> {
  started.add(heartbeat, (it) => it.stop()).start()
  started.add(
    onLeader(cluster, () => void heartbeat.leaderChanged()),
    (off) => off(),
  )
  const founded = found(folder, cluster)
  founded.catch(onFatal)
  started.add(keepFresh(confirm), (it) => it.stop())
  const { replaceVoterAfterMs: replaceAfterMs } = options
  const membership = { cluster, raft, handOverKey: (node: string) => handover.give(node), log }
  voters.membership = started.add(
    new Membership({ ...membership, ...(replaceAfterMs ? { replaceAfterMs } : {}) }),
    (it) => it.stop(),
  )
  started.add(new HealthLog(cluster, log), (it) => it.stop())
  const sinceRenewed = (node: string) => renewals.sinceRenewed(node)
  started.add(new NodeWatch({ cluster, log, sinceRenewed }), (it) => it.stop())
  const surroundings = () => surroundingsOf(cluster)
  started.add(new Planner({ cluster, surroundings, log, meter: monitor.planner }), (it) => it.stop())
  started.add(new Keeper({ cluster, ...kept, log }), (it) => it.stop()).start()
  started.add(reporter, (it) => it.stop())
  void founded.then(() => reporter.start())
  if (images) started.add(images, (it) => it.stop()).start()
  const reconciler = new NodeReconciler({
    cluster,
    ...kept,
    space,
    runtimes,
    dataDir: folder.path,
    api: { url: (runtime) => apiFor(runtime, address, loopback), caFile: join(folder.path, 'tls', 'ca.pem') },
    clusterId: folder.identity.cluster,
    nodeId: cluster.self.node,
    leases,
    secretFor: (asked) => sealer.forTask(asked),
    log,
  })
  host.reconciler = reconciler
  started.add(reconciler, (it) => it.stop())
  started.add(leases, (it) => it.stop()).start()
  await reconciler.start()
  started.add(cluster, (it) => handOver(it, log))
  started.add(heartbeat, (it) => it.announceRestart())
  const removed = departure({ folder, roster, peers, endTasks: () => reconciler.endAll(), log })
  removed.catch(onFatal)
  return { founded, removed }
}

/** Called when another node leads, or none. Returns the way to stop. */
function onLeader(cluster: Pick<Member, 'status' | 'onStatus'>, changed: () => void): () => void {
  let known = cluster.status().leader
  return cluster.onStatus(({ leader }) => {
    if (leader === known) return
    known = leader
    changed()
  })
}

/** Best effort: without it the others elect a leader when they miss this one. */
async function handOver(cluster: Member, log: Logger): Promise<void> {
  const node = await cluster.handOver().catch((err: unknown) => {
    log.warn({ err }, 'leadership could not be handed over; the others elect a leader in a moment')
  })
  const name = node && cluster.state().nodes.get(node)?.name
  if (node) log.info({ node }, `leadership was handed over to ${name ?? node}`)
}

/** Compares this replica's state with the others'; resolves when it has to be made anew. */
function watchReplicas(
  { folder, log, started }: Basis,
  { machine, damage }: Stores,
  { cluster, raft }: Core,
): Promise<void> {
  const digestAt = (index: number) => machine.digestAt(index)
  serveImage(cluster, raft, digestAt)
  if (damage) void tellOfDamage(cluster, damage, log)
  return new Promise((outdated) => {
    const check = new ReplicaCheck({
      cluster,
      digestAt,
      handOver: (nodes) => giveLeadership(raft, nodes),
      rebuild: async (right) => {
        await fetchImage(folder.path, cluster, raft, right)
        outdated()
      },
      log,
    })
    started.add(check, (it) => it.stop())
  })
}

async function giveLeadership(raft: RaftDriver, nodes: readonly string[]): Promise<boolean> {
  const { id, conf } = raft.status()
  const to = nodes.map(memberIn).find((member) => member && member !== id && conf.voters.includes(member))
  if (to) await raft.transferLeadership(to)
  return to !== undefined
}

async function tellOfDamage(cluster: Member, damage: string, log: Logger): Promise<void> {
  const message = `its state was damaged on disk and was made again from its log: ${damage}`
  const { node } = cluster.self
  await cluster
    .propose(
      { type: 'node.replica', node, differs: false, message },
      { kind: 'node', node },
      { timeoutMs: 60_000 },
    )
    .catch((error: unknown) => log.warn({ err: error }, 'the damage could not be told'))
}

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || host.startsWith('127.')
const memberIn = (node: string) => Number(/^node-(\d+)$/.exec(node)?.[1]) || undefined

/** How a task reaches the API of its agent: by the name its container has for the host, or on this host itself. */
function apiFor(
  runtime: RuntimeName,
  { host, port }: Basis['address'],
  loopback: string | undefined,
): string {
  if (runtime === 'docker' && !isLoopback(host)) return `https://${taskHost}:${port}`
  if (loopback) return loopback.replace('localhost', '127.0.0.1')
  const here = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `https://${formatAddress(here, port)}`
}

/** The founder puts the cluster into the log, once; a kill -9 before that is made good at the next start. */
async function found(folder: DataFolder, cluster: Member): Promise<string | undefined> {
  const founding = await readFounding(folder.path)
  if (!founding) return undefined
  if (!cluster.state().cluster.has(theCluster))
    await cluster.propose(founding.command, { kind: 'system' }, { timeoutMs: 60_000 })
  await forgetFounding(folder.path)
  return founding.password
}
