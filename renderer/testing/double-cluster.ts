/** The agent double's small world: what exists, what happens in it by itself, and who is told. */
import type http from 'node:http'
import type { Event, Experiment, LogLine, Task, WatchEvent } from '../../contract/objects.ts'
import type { Node } from '../../contract/nodes.ts'
import { isFinal, type State } from '../../contract/states.ts'
import { gpu, nodeOf, pastExperiments } from './double-data.ts'

/** What POST /double changes, and the version of everything. */
export const world = { version: 100, quorum: true, oldest: 0 }
export const nodes = new Map<string, Node>()
export const experiments = new Map<string, Experiment>()
export const events: Event[] = []
export const changes: { version: number; event: WatchEvent }[] = []
export const watchers = new Set<http.ServerResponse>()
export const logs = new Map<string, LogLine[]>()
export const now = () => new Date().toISOString()

export function tell(event: WatchEvent): void {
  if (event.kind !== 'usage' && event.kind !== 'bookmark') changes.push({ version: world.version, event })
  for (const watcher of watchers) send(watcher, event, event.kind === 'usage' ? undefined : world.version)
}
export function send(response: http.ServerResponse, data: unknown, id?: number): void {
  response.write(`${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`)
}
export function put(experiment: Experiment): Experiment {
  const stored = { ...experiment, resource_version: ++world.version }
  const type = experiments.has(stored.id) ? 'MODIFIED' : 'ADDED'
  experiments.set(stored.id, stored)
  tell({ kind: 'experiment', type, object: stored })
  return stored
}
function happen(code: string, kind: Event['subject']['kind'], id: string, message: string): void {
  const event: Event = {
    id: String(++world.version).padStart(12, '0'),
    at: now(),
    code,
    subject: { kind, id },
    message,
    reason: null,
    actor: 'system',
  }
  events.push(event)
  tell({ kind: 'event', type: 'ADDED', object: event })
}
export function move(id: string, state: State, task: Partial<Task> = {}): void {
  const was = experiments.get(id)
  if (!was || isFinal(was.state)) return
  const ended = isFinal(state) ? now() : null
  const started = was.started_at ?? (state === 'Running' ? now() : null)
  const tasks = was.tasks.map((one) => ({ ...one, ...task, state, started_at: started, finished_at: ended }))
  put({ ...was, state, reason: null, started_at: started, finished_at: ended, tasks })
  happen(`experiment.${state.toLowerCase()}`, 'experiment', id, `${was.name} is ${state}`)
}
function log(id: string, text: string, stream: 'stdout' | 'stderr' = 'stdout'): void {
  const task = experiments.get(id)?.tasks[0]
  const lines = logs.get(id) ?? []
  logs.set(id, lines)
  if (task)
    lines.push({
      task: task.id,
      attempt: 1,
      offset: (lines.at(-1)?.offset ?? 0) + text.length + 40,
      time: now(),
      stream,
      text,
    })
}

/** A made-up run: placed, prints epochs, leaves files. */
export function start(id: string): void {
  const node = [...nodes.values()][experiments.size % 3]
  if (!node) return
  setTimeout(
    () => move(id, 'Starting', { node: node.id, runtime: 'docker', isolation: 'container', attempt: 1 }),
    600,
  )
  setTimeout(() => move(id, 'Running'), 1800)
  let epoch = 0
  const timer = setInterval(() => {
    const experiment = experiments.get(id)
    if (experiment?.state !== 'Running')
      return isFinal(experiment?.state ?? 'Failed') ? clearInterval(timer) : undefined
    epoch++
    log(
      id,
      `\u001b[2mepoch\u001b[0m ${String(epoch).padStart(3)}  loss \u001b[36m${(2 / epoch).toFixed(4)}\u001b[0m  accuracy \u001b[32m${(1 - 1 / (epoch + 1)).toFixed(4)}\u001b[0m`,
    )
    if (epoch % 10 === 0) log(id, `warning: learning rate lowered to ${(0.1 / epoch).toFixed(5)}`, 'stderr')
    if (epoch < 60) return
    move(id, 'Succeeded', { exit_code: 0, artifacts: { files: 2, bytes: 20480, copies: 1 } })
    clearInterval(timer)
  }, 400)
}

for (const [at, name] of ['gpu-01', 'gpu-02', 'cpu-01'].entries())
  nodes.set(`node-${at + 1}`, nodeOf(at, name))
for (const experiment of pastExperiments()) {
  put(experiment)
  if (experiment.id === 'exp-live') continue
  for (let at = 1; at <= 40; at++) log(experiment.id, `epoch ${at} loss ${(2 / at).toFixed(4)}`)
}
happen('node.joined', 'node', 'node-3', 'node cpu-01 joined as node-3')

setInterval(() => {
  for (const node of nodes.values()) {
    if (node.liveness === 'unreachable' || !node.usage) continue
    const sway = (Math.sin(Date.now() / 9000 + node.member * 2) + 1) / 2
    const used = {
      cpu_percent: 12 + 70 * sway * (node.member === 3 ? 0.3 : 1),
      memory_used: Math.round(node.usage.memory_total * (0.35 + 0.2 * sway)),
    }
    nodes.set(node.id, {
      ...node,
      usage: {
        ...node.usage,
        ...used,
        at: now(),
        gpus: node.inventory?.gpus.map((one) => gpu.usage(one, node, sway)) ?? [],
      },
    })
  }
  tell({
    kind: 'usage',
    type: 'MODIFIED',
    object: [...nodes.values()].map(({ id, liveness, silent_ms, usage }) => ({
      node: id,
      liveness,
      silent_ms,
      usage,
    })),
  })
  tell({
    kind: 'bookmark',
    type: 'BOOKMARK',
    object: { resource_version: world.version, leader: world.quorum ? 'node-1' : null },
  })
}, 1000)
