import type { Cluster, Event, Experiment, WatchEvent } from '../../contract/objects.ts'
import type { Node, Usage } from '../../contract/nodes.ts'
import { type Api, problemFrom } from '../api/client.ts'
import { sleep } from '../api/retry.ts'
import { applied, emptySnapshot, listed, type Snapshot } from './snapshot.ts'
import { type Connection, watchCluster } from './watch.ts'

/** Changes are shown in batches: a thousand tasks starting must not mean a thousand renders. */
const batchMs = 60
const clusterEveryMs = 5000
const experimentsAtMost = 5000

/** The cluster as one multiplexed watch stream tells it. One instance per signed-in shell. */
export class ClusterState {
  readonly #api: Api
  #snapshot = $state.raw<Snapshot>(emptySnapshot)
  #info = $state.raw<Cluster | undefined>(undefined)
  #connection = $state<Connection>('connecting')
  #old = $state(false)
  #asOf = $state<number | undefined>(undefined)
  #loaded = $state(false)
  #pending: WatchEvent[] = []
  #stop: AbortController | undefined

  readonly nodes: readonly Node[] = $derived(
    [...this.#snapshot.nodes.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })),
  )
  readonly experiments: readonly Experiment[] = $derived(
    [...this.#snapshot.experiments.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1)),
  )
  readonly #nodeNames: ReadonlyMap<string, string> = $derived(
    new Map(this.nodes.map((node) => [node.id, node.name])),
  )

  constructor(api: Api) {
    this.#api = api
  }

  get events(): readonly Event[] {
    return this.#snapshot.events
  }
  get info(): Cluster | undefined {
    return this.#info
  }
  get connection(): Connection {
    return this.#connection
  }
  /** What is shown came from one agent's own copy while no leader was there. */
  get old(): boolean {
    return this.#old || this.withoutLeader
  }
  /** When the copy was last known to be as new as the leader's, by this page's clock; undefined when that is not known. */
  get asOf(): number | undefined {
    return this.#asOf
  }
  get loaded(): boolean {
    return this.#loaded
  }
  /** The agent answers, yet the cluster cannot decide anything. */
  get withoutLeader(): boolean {
    return this.#connection === 'live' && this.#info !== undefined && this.#info.leader === null
  }

  experiment(id: string): Experiment | undefined {
    return this.#snapshot.experiments.get(id)
  }
  node(idOrName: string): Node | undefined {
    return this.#snapshot.nodes.get(idOrName) ?? this.nodes.find((node) => node.name === idOrName)
  }
  nodeName(id: string | null): string | null {
    return id === null ? null : (this.#nodeNames.get(id) ?? id)
  }
  history(node: string): readonly Usage[] {
    return this.#snapshot.history.get(node) ?? []
  }

  /** What an action's own reply says, shown without waiting for the stream. */
  show(experiment: Experiment): void {
    this.#snapshot = applied(this.#snapshot, [{ kind: 'experiment', type: 'MODIFIED', object: experiment }])
  }

  start(): void {
    this.#stop?.abort()
    const { signal } = (this.#stop = new AbortController())
    void watchCluster(
      {
        list: (attempt) => this.#list(attempt),
        open: (after, attempt) =>
          this.#api.events('watch', { query: { resource_version: after }, signal: attempt }),
        change: (event) => this.#change(event),
        connection: (now) => (this.#connection = now),
        sleep,
      },
      signal,
    )
    void this.#followInfo(signal)
  }

  stop(): void {
    this.#stop?.abort()
    this.#snapshot = emptySnapshot
    this.#loaded = false
    this.#connection = 'connecting'
  }

  async #list(signal: AbortSignal): Promise<number> {
    const nodes = await this.#api.read('nodes.list', { query: { page_size: 1000 }, signal })
    const experiments: Experiment[] = []
    let old = nodes.old
    let version = nodes.value.resource_version
    for (let token: string | undefined; ;) {
      const query = { page_size: 500, ...(token ? { page_token: token } : {}) }
      const page = await this.#api.read('experiments.list', { query, signal })
      experiments.push(...page.value.items)
      old ||= page.old
      // The oldest of the versions: watching from there repeats a few changes and misses none.
      version = Math.min(version, page.value.resource_version)
      token = page.value.next_page_token ?? undefined
      if (!token || experiments.length >= experimentsAtMost) break
    }
    this.#pending = []
    this.#snapshot = listed(this.#snapshot, nodes.value.items, experiments)
    this.#old = old
    this.#loaded = true
    return version
  }

  #change(event: WatchEvent): void {
    if (event.kind === 'bookmark') {
      if (this.#info && event.object.leader !== this.#info.leader)
        this.#info = { ...this.#info, leader: event.object.leader }
      return
    }
    if (this.#pending.push(event) === 1)
      setTimeout(() => {
        const changes = this.#pending
        this.#pending = []
        if (changes.length) this.#snapshot = applied(this.#snapshot, changes)
      }, batchMs)
  }

  /** Without a leader the agent's own copy is read; when that tells of one again, he is asked. */
  async #readInfo(signal: AbortSignal): Promise<void> {
    const without = this.withoutLeader
    let { value, old } = await this.#api.read('cluster.get', { signal })
    if (without && old && value.leader !== null)
      ({ value, old } = await this.#api.read('cluster.get', { query: { consistency: 'strong' }, signal }))
    this.#info = old ? { ...value, leader: null } : value
    this.#asOf = value.copy_age === null ? undefined : Date.now() - value.copy_age * 1000
    this.#old = old
  }

  /** Members and leadership are not on the stream. */
  async #followInfo(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#readInfo(signal)
      } catch (error) {
        if (problemFrom(error).code === 'unauthenticated') return
      }
      await sleep(clusterEveryMs, signal)
    }
  }
}
