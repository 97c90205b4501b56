import type { Usage } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { clusterFamilies } from './cluster.ts'
import { counter, type Family, family, histogram } from './family.ts'
import { hostFamilies } from './host.ts'
import { processFamilies, watchLoop } from './process.ts'
import { raftFamilies } from './raft.ts'

export interface MonitorOptions {
  readonly cluster: Cluster
  readonly raftMetrics: () => Record<string, number>
  /** Of this host, as last measured. */
  readonly usage: () => Usage | null
  /** PEM of this node's certificate. */
  readonly certificate: () => string
  readonly version: string
  /** Wall clock, ms. */
  readonly now?: () => number
}

/** A request that was answered, or a stream that ended. */
export interface Answered {
  readonly method: string
  /** The pattern, never the address: that has ids in it. */
  readonly route: string
  readonly status: number
  readonly seconds: number
  readonly isStream: boolean
}

/** What the planner tells of its work. */
export interface PlannerMeter {
  pass(seconds: number): void
  placed(tasks: number): void
  /** Apply refused what was planned, with this code. */
  refused(code: string): void
}

/** Everything that this agent counts, and the metrics it tells at each scrape. */
export interface Monitor {
  readonly planner: PlannerMeter
  readonly answered: (request: Answered) => void
  families(): Family[]
  stop(): void
}

const requestBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
const passBounds = [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]

export function createMonitor(options: MonitorOptions): Monitor {
  const { cluster, raftMetrics, usage, certificate, version, now = Date.now } = options
  const loop = watchLoop()
  const requests = requestMeter()
  const planner = plannerMeter()
  const log = watchLog(cluster)
  return {
    planner,
    answered: requests.answered,
    families: () => [
      ...processFamilies(version),
      loop.lag.family(),
      ...requests.families(),
      ...raftFamilies({ cluster, metrics: raftMetrics, leaderChanges: log.leaderChanges, certificate }),
      ...hostFamilies(cluster.state(), cluster.self.node, usage()),
      ...planner.families(),
      log.events(),
      ...clusterFamilies(cluster, now()),
    ],
    stop: () => {
      loop.stop()
      log.stop()
    },
  }
}

function requestMeter() {
  const durations = histogram('submarine_http_request_duration_seconds', 'Requests of people and programs, by route, until they were answered.', requestBounds) // prettier-ignore
  const streams = counter('submarine_http_streams_total', 'Streams of events and logs that have ended.')
  return {
    answered: ({ method, route, status, seconds, isStream }: Answered) =>
      isStream ? streams.add({ route }) : durations.observe(seconds, { method, route, status }),
    families: () => [durations.family(), streams.family()],
  }
}

function plannerMeter() {
  const passes = histogram('submarine_planner_pass_duration_seconds', 'Passes of the planner on this agent, while it led.', passBounds) // prettier-ignore
  const refusals = counter('submarine_planner_refusals_total', 'Plans that were refused when they were applied, by code.') // prettier-ignore
  let placed = 0
  return {
    pass: (seconds: number) => passes.observe(seconds),
    placed: (tasks: number) => void (placed += tasks),
    refused: (code: string) => refusals.add({ code }),
    families: () => [
      passes.family(),
      family('counter', 'submarine_planner_placements_total', 'Tasks that the planner of this agent has placed.', placed),
      refusals.family(),
    ],
  } // prettier-ignore
}

/** Events are counted by whoever leads, so that a sum over all agents counts each once. */
function watchLog(cluster: Cluster) {
  const events = counter('submarine_events_total', 'Events of the cluster by code, counted by the agent that led.') // prettier-ignore
  let { leader } = cluster.status()
  let changes = 0
  const unsubscribe = [
    cluster.onApplied((applied) => {
      if (applied.events.length === 0 || !cluster.status().isLeader) return
      for (const { code } of applied.events) events.add({ code })
    }),
    cluster.onStatus((status) => {
      if (status.leader === null || status.leader === leader) return
      leader = status.leader
      changes++
    }),
  ]
  return {
    events: () => events.family(),
    leaderChanges: () => changes,
    stop: () => unsubscribe.forEach((end) => end()),
  }
}
