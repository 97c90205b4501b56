import path from 'node:path'
import type { Logger } from 'pino'
import type { Cluster } from '../../cluster/cluster.ts'
import { credentialsContext, type Sealer } from '../../cluster/sealer.ts'
import type { Incoming } from '../../store/incoming.ts'
import type { Blobs } from '../../store/store.ts'
import type { DockerEngine } from '../docker/engine.ts'
import { EngineImages } from '../docker/image.ts'
import { Brought } from './brought.ts'
import { ImageJobs } from './jobs.ts'
import { Pulls } from './pulls.ts'
import { LoopbackRegistry } from './registry.ts'
import { ImageReporter } from './reporter.ts'
import { clusterShelf } from './shelf.ts'
import { Upstream } from './upstream.ts'

export interface OpenImagesOptions {
  readonly engine: DockerEngine
  readonly cluster: Cluster
  readonly blobs: Blobs
  readonly incoming: Incoming
  readonly sealer: Pick<Sealer, 'open'>
  readonly dataDir: string
  readonly log: Logger
}

/** All that has to do with this host's images, wired. */
export async function openImages({
  engine,
  cluster,
  blobs,
  incoming,
  sealer,
  dataDir,
  log,
}: OpenImagesOptions) {
  const state = () => cluster.state()
  const pulls = new Pulls()
  const brought = await Brought.open(path.join(dataDir, 'node'))
  const upstream = new Upstream({
    state,
    credentials: ({ host, sealed }) => sealer.open(sealed ?? '', credentialsContext(host)),
  })
  const registry = await LoopbackRegistry.listen(
    { cluster: clusterShelf(state, blobs, incoming), upstream },
    log,
  )
  const images = new EngineImages({ engine, cluster: { state, registry, upstream, pulls, brought } })
  const reporter = new ImageReporter({ cluster, engine, brought, log })
  const jobs = new ImageJobs({ cluster, images, reporter, log })
  return {
    engine: images,
    pulls,
    start() {
      reporter.start()
      jobs.start()
    },
    async stop() {
      await jobs.stop()
      await reporter.stop()
    },
    async close() {
      await registry.close()
      await upstream.close()
    },
  }
}
