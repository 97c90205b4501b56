import { EventEmitter } from 'node:events'
import type { Artifact, Experiment, LogLine } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { parseSpec } from '../../contract/spec.ts'
import type { State } from '../../contract/states.ts'
import type { TestAuthority } from './certificates.ts'
import type { DoubleAgent } from './double-agent.ts'

/** What the doubles of one cluster share, as agents do through their log. */
export class DoubleCluster {
  readonly changed = new EventEmitter().setMaxListeners(0)
  readonly agents: DoubleAgent[] = []
  readonly experiments = new Map<string, Experiment>()
  readonly logs: LogLine[] = []
  readonly artifacts: (Artifact & { data: Buffer })[] = []
  readonly blobs = new Map<string, Buffer>()
  readonly byKey = new Map<string, Experiment>()
  readonly tokens = new Set(['known-token'])
  readonly authority: TestAuthority | undefined
  /** What it says that its authority is by now; its agents' certificates stay those of the first one. */
  replacement: Pick<TestAuthority, 'ca' | 'sha256'> | undefined
  constructor(authority?: TestAuthority) {
    this.authority = authority
  }

  add(spec: unknown, state: State = 'Running', id = `exp-${this.experiments.size + 1}`): Experiment {
    const parsed = parseSpec(spec)
    if ('errors' in parsed) throw new ProblemError('invalid_spec', undefined, { errors: parsed.errors })
    const now = new Date().toISOString()
    const times = { started_at: now, finished_at: null, reason: null, resource_version: 1 }
    const tasks = Object.entries(parsed.spec.roles).flatMap(([role, { replicas, resources }]) =>
      Array.from({ length: replicas }, (_, index) => ({
        ...times, id: `${id}-${role}-${index}`, workload: id, role, index, state, attempt: 1, node: 'node-1', node_name: 'host-1', node_unreachable_since: null,
        runtime: 'process' as const, isolation: 'none' as const, resources, gpus: [], exit_code: null, artifacts: null, log: null,
      }))) // prettier-ignore
    const { name } = parsed.spec
    const made: Experiment = { ...times, id, name, owner: 'admin', description: '', tags: {}, spec: parsed.spec, state, stop_requested: false, created_at: now, tasks } // prettier-ignore
    this.experiments.set(id, made)
    return made
  }

  /** A line of its first task's log. */
  log(id: string, text: string, stream: LogLine['stream'] = 'stdout', task = `${id}-worker-0`): void {
    const offset = this.logs
      .filter((l) => l.task === task)
      .reduce((sum, l) => sum + l.text.length + 1, text.length + 1)
    this.logs.push({ task, attempt: 1, offset, time: new Date().toISOString(), stream, text })
    this.changed.emit('change')
  }

  finish(id: string, state: State, exit = 0): void {
    const e = this.find(id)
    const ended = { state, finished_at: new Date().toISOString() }
    const tasks = e.tasks.map((t) => ({ ...t, ...ended, exit_code: exit }))
    this.experiments.set(id, { ...e, ...ended, tasks })
    this.changed.emit('change')
  }

  find(id = ''): Experiment {
    const found = this.experiments.get(id)
    if (!found) throw new ProblemError('not_found')
    return found
  }
}
