import type { Event, Experiment, WatchEvent } from '../../contract/objects.ts'
import type { Node, Usage } from '../../contract/nodes.ts'

/** What the console knows of the cluster. Replaced whole on every change, never mutated. */
export interface Snapshot {
  readonly nodes: ReadonlyMap<string, Node>
  readonly experiments: ReadonlyMap<string, Experiment>
  /** Newest first, as far as they came by since the page was opened. */
  readonly events: readonly Event[]
  /** Live figures of the last minutes by node id, oldest first. */
  readonly history: ReadonlyMap<string, readonly Usage[]>
}

export const emptySnapshot: Snapshot = {
  nodes: new Map(),
  experiments: new Map(),
  events: [],
  history: new Map(),
}

const eventsKept = 500
const samplesKept = 180

/** A fresh list replaces what was known; history and events seen so far stay. */
export function listed(
  before: Snapshot,
  nodes: readonly Node[],
  experiments: readonly Experiment[],
): Snapshot {
  return {
    ...before,
    nodes: new Map(nodes.map((node) => [node.id, withLive(node, before.nodes.get(node.id))])),
    experiments: new Map(experiments.map((experiment) => [experiment.id, experiment])),
  }
}

/** Fold changes from the watch into the snapshot; what the snapshot already has, or has newer, is skipped. */
export function applied(before: Snapshot, changes: readonly WatchEvent[]): Snapshot {
  const nodes = new Map(before.nodes)
  const experiments = new Map(before.experiments)
  const history = new Map(before.history)
  let events = before.events
  for (const change of changes)
    switch (change.kind) {
      case 'experiment':
        put(experiments, change.type, change.object)
        break
      case 'node':
        put(nodes, change.type, withLive(change.object, nodes.get(change.object.id)))
        break
      case 'event':
        if (!events.some((event) => event.id === change.object.id))
          events = [change.object, ...events].slice(0, eventsKept)
        break
      case 'usage':
        for (const { node: id, usage, ...live } of change.object) {
          const node = nodes.get(id)
          if (node) nodes.set(id, { ...node, ...live, usage: usage ?? node.usage })
          if (usage) history.set(id, withSample(history.get(id) ?? [], usage))
        }
        break
      case 'bookmark':
        break
    }
  return { nodes, experiments, events, history }
}

function put<T extends { id: string; resource_version: number }>(
  objects: Map<string, T>,
  type: 'ADDED' | 'MODIFIED' | 'DELETED',
  object: T,
): void {
  const known = objects.get(object.id)
  if (known && known.resource_version > object.resource_version) return
  if (type === 'DELETED') objects.delete(object.id)
  else objects.set(object.id, object)
}

/** Live figures are not in the log: a change of the stored part must not wipe what the stream told. */
function withLive(node: Node, known: Node | undefined): Node {
  if (!known) return node
  return {
    ...node,
    usage: node.usage ?? known.usage,
    liveness: node.liveness === 'unknown' ? known.liveness : node.liveness,
    silent_ms: node.silent_ms ?? known.silent_ms,
  }
}

const withSample = (samples: readonly Usage[], usage: Usage): readonly Usage[] =>
  samples.at(-1)?.at === usage.at ? samples : [...samples, usage].slice(-samplesKept)
