import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { LevelLogStore, RaftDriver, systemEnv } from '../raft/index.ts'
import { addressesOf } from './address.ts'
import { Admission } from './cluster/admission.ts'
import { forgetFounding, readFounding } from './cluster/entry/found.ts'
import { type DataFolder, writeClusterKey } from './cluster/identity/data-folder.ts'
import { verifyPassword } from './cluster/identity/seal.ts'
import { KeyHandover } from './cluster/key-handover.ts'
import { Member } from './cluster/member.ts'
import { Membership } from './cluster/membership.ts'
import { nodeIdOf } from './cluster/rules/members.ts'
import { ClusterSigner } from './cluster/signer.ts'
import { ClusterStateMachine } from './cluster/state-machine.ts'
import { theCluster } from './cluster/state.ts'
import { AddressBook } from './cluster/wire/address-book.ts'
import { Heartbeat } from './cluster/wire/heartbeat.ts'
import { Listener } from './cluster/wire/listener.ts'
import { PeerWire } from './cluster/wire/peers.ts'
import { RaftTransport } from './cluster/wire/raft-transport.ts'
import { createHttp } from './http/server.ts'
import { httpServers, listenLoopback } from './listeners.ts'
import { detectInventory } from './node/detect/inventory.ts'
import { NodeReporter } from './node/detect/reporter.ts'
import { UsageReader } from './node/detect/usage.ts'
import { DockerEngine } from './node/docker/engine.ts'
import { DockerRuntime } from './node/docker/runtime.ts'
import { taskHost } from './node/docker/spec.ts'
import { ProcessRuntime } from './node/process/runtime.ts'
import { NodeReconciler } from './node/reconcile.ts'
import type { Runtime } from './node/runtime.ts'
import type { AgentOptions } from './options.ts'
import { Planner } from './scheduler/planner.ts'
import { createServices } from './services/index.ts'
import { LocalBlobs } from './store/blobs.ts'
import { Keeper } from './store/keeper.ts'
import { ReplicatedBlobs } from './store/replicated-blobs.ts'
import { ReplicatedStreams } from './store/replicated-streams.ts'
import { DiskSpace } from './store/space.ts'
import { StateDb } from './store/state-db.ts'
import { LocalStreams } from './store/streams.ts'
import { createDockerSubmitter } from './submitters/docker.ts'
import { agentVersion } from './version.ts'

const consoleFolder = fileURLToPath(new URL('../renderer/dist', import.meta.url))

export interface RunningAgent {
  readonly folder: DataFolder
  readonly advertise: string
  readonly loopback: string | undefined
  /** Resolves to the founder's password once the cluster is in the log; undefined for everybody else. */
  readonly founded: Promise<string | undefined>
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

/** The agent, wired. The only place that knows every room. */
export async function compose(
  folder: DataFolder,
  options: AgentOptions,
  log: Logger,
  onFatal: (error: Error) => void,
): Promise<RunningAgent> {
  const started = new Started()
  started.add(folder, (it) => it.close())
  try {
    return await wire(folder, options, log, onFatal, started)
  } catch (error) {
    await started.stop()
    throw error
  }
}

async function wire(
  folder: DataFolder,
  options: AgentOptions,
  log: Logger,
  onFatal: (error: Error) => void,
  started: Started,
): Promise<RunningAgent> {
  const { identity, credentials } = folder
  const { host, port, advertise } = addressesOf(options)
  let clusterKey = folder.clusterKey

  const floor = options.diskFloor
  const space = started.add(await DiskSpace.open(folder.path, floor === undefined ? {} : { floor }), (it) =>
    it.close(),
  )
  const machine = started.add(
    await ClusterStateMachine.open(await StateDb.open(folder.folders.state)),
    (it) => it.close(),
  )
  const logStore = await LevelLogStore.open(folder.folders.log, {
    id: identity.member,
    clusterId: identity.cluster,
  })

  // The wire to the other agents.
  const nodes = () => machine.state.nodes
  const addresses = await AddressBook.open({
    data: folder.path,
    state: () => new Map([...nodes().values()].map((node) => [node.member, node.address])),
    log,
  })
  const self = {
    cluster: identity.cluster,
    member: identity.member,
    credentials: () => credentials,
    advertised: () => advertise,
  }
  const memberOf = (node: string) =>
    nodes().get(node)?.member ?? (Number(/^node-(\d+)$/.exec(node)?.[1]) || undefined)
  const peers = started.add(new PeerWire({ self, addresses, nodeOf: nodeIdOf, memberOf, log }), (it) =>
    it.close(),
  )
  const transport = started.add(new RaftTransport({ self, addresses, random: systemEnv.random, log }), (it) =>
    it.close(),
  )
  const http = started.add(httpServers(), (it) => it.close())
  const listener = new Listener({
    credentials,
    cluster: identity.cluster,
    http1: http.http1,
    http2: http.http2,
    wire: {
      'submarine-raft/1': (socket, member) => transport.accept(socket, member),
      'submarine-snapshot/1': (socket, member) => transport.acceptSnapshot(socket, member),
      'submarine-peer/1': (socket, member) => peers.accept(socket, member),
    },
    log,
  })

  // Raft and what stands on it.
  const raft = started.add(
    await RaftDriver.open({
      id: identity.member,
      store: logStore,
      transport,
      stateMachine: machine,
      onFatal,
      log: {
        info: (message, fields) => log.info(fields ?? {}, message),
        warn: (message, fields) => log.warn(fields ?? {}, message),
      },
    }),
    (it) => it.close(),
  )
  const cluster = new Member(identity.member, raft, machine, peers)
  const handover = new KeyHandover(
    cluster,
    () => clusterKey,
    async (key) => {
      await writeClusterKey(folder.path, key)
      clusterKey = key
    },
  )
  const admission = new Admission(
    cluster,
    new ClusterSigner(
      () => machine.state,
      () => clusterKey,
    ),
  )

  // What is kept beside the log.
  const group = { peers, self: cluster.self.node, nodes: () => [...nodes().keys()] }
  const blobs = started.add(
    new ReplicatedBlobs({ ...group, local: await LocalBlobs.open(folder.path, space) }),
    (it) => it.close(),
  )
  const streams = started.add(
    new ReplicatedStreams({ ...group, local: await LocalStreams.open(folder.path, space), log }),
    (it) => it.close(),
  )

  // This host.
  const engine = options.docker ? new DockerEngine(options.dockerSocket) : null
  const defaultImage = options.defaultImage ?? null
  const reporter = new NodeReporter({
    cluster,
    detect: () =>
      detectInventory({
        dataDir: folder.path,
        engine,
        processRuntime: options.processRuntime,
        defaultImage,
        agentVersion,
      }),
    address: () => advertise,
    log,
    ...(options.share ? { share: options.share } : {}),
  })
  const usage = new UsageReader({
    dataDir: folder.path,
    gpus: () => reporter.inventory?.gpus ?? [],
    diskLow: () => space.low(),
  })
  const heartbeat = new Heartbeat({
    peers,
    self: cluster.self.node,
    leader: () => cluster.status().leader,
    nodes: () => [...nodes().keys()],
    usage: () => usage.read(),
    addresses,
    clock: () => performance.now(),
    log,
  })

  // People and programs.
  const services = started.add(
    createServices({
      cluster,
      blobs,
      streams,
      space,
      submitter: createDockerSubmitter(cluster),
      verifyPassword,
      admit: (request) => admission.admit(request),
      version: agentVersion,
      demo: options.demoFile !== undefined,
    }),
    (it) => it.close(),
  )
  const api = started.add(
    await createHttp({
      services,
      log,
      hosts: [advertise, `${taskHost}:${port}`],
      consoleFolder,
      demoFile: options.demoFile,
    }),
    (it) => it.close(),
  )
  http.handle(api.handler)
  started.add(listener, (it) => it.close())
  await listener.listen(host, port)
  const loopback =
    options.httpLoopback === undefined
      ? undefined
      : started.add(await listenLoopback(options.httpLoopback, api.handler), (it) => it.close())

  // Everything can be asked; now it begins to act.
  const loopbackOnly = host === '127.0.0.1' || host === 'localhost' || host === '::1'
  const runtimes: Runtime[] = [
    ...(engine
      ? [
          new DockerRuntime({
            engine,
            owner: { cluster: identity.cluster, node: cluster.self.node },
            defaultImage,
            network: loopbackOnly ? 'host' : 'auto',
          }),
        ]
      : []),
    ...(options.processRuntime ? [new ProcessRuntime({ folder: join(folder.path, 'processes') })] : []),
  ]
  const here = loopback
    ? `http://127.0.0.1:${loopback.port}`
    : `https://${loopbackOnly || host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`
  const reconciler = new NodeReconciler({
    cluster,
    blobs,
    streams,
    space,
    runtimes,
    dataDir: folder.path,
    api: {
      url: (runtime) => (runtime === 'docker' && !loopbackOnly ? `https://${taskHost}:${port}` : here),
      caFile: join(folder.path, 'tls', 'ca.pem'),
    },
    clusterId: identity.cluster,
    nodeId: cluster.self.node,
    log,
  })
  heartbeat.start()
  started.add(heartbeat, (it) => it.stop())
  const founded = found(folder, cluster)
  founded.catch(onFatal)
  started.add(new Membership(cluster, raft, (node) => handover.give(node), log), (it) => it.stop())
  started.add(new Planner(cluster, log), (it) => it.stop())
  started.add(new Keeper({ cluster, blobs, streams, log }), (it) => it.stop()).start()
  started.add(reporter, (it) => it.stop())
  void founded.then(() => reporter.start())
  started.add(reconciler, (it) => it.stop())
  await reconciler.start()
  started.add(heartbeat, (it) => it.announceRestart())
  return {
    folder,
    advertise,
    loopback: loopback && `http://localhost:${loopback.port}`,
    founded,
    stop: () => started.stop(),
  }
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
