import { formatDuration } from '../../contract/duration.ts'
import type { Cluster, Event, Experiment, Task } from '../../contract/objects.ts'
import type { Node } from '../../contract/nodes.ts'
import { formatBytes, type Resources } from '../../contract/resources.ts'
import type { State } from '../../contract/states.ts'
import type { Style, Terminal } from '../terminal.ts'
import { nodeGpus } from './gpus.ts'
import { type Column, counted, plain, properties, table } from './table.ts'

const stateStyle: Record<State, Style> = {
  Accepted: 'dim',
  Queued: 'yellow',
  Starting: 'cyan',
  Running: 'cyan',
  Succeeded: 'green',
  Failed: 'red',
  Stopped: 'yellow',
}

const ago = (time: string | null): string =>
  time === null ? '-' : formatDuration(Math.max(0, (Date.now() - Date.parse(time)) / 1000))

const reasonOf = (object: { reason: { code: string; message: string } | null }): string =>
  object.reason ? plain(`${object.reason.message} (${object.reason.code})`) : '-'

export const taskName = (task: Pick<Task, 'role' | 'index'>): string => `${task.role}-${task.index}`

/** The runtime, with what it lacks: a task without isolation is never shown as if it had some. */
export function runtimeOf(task: Task): string {
  if (task.runtime === null) return '-'
  return task.isolation === 'none' ? `${task.runtime} (no isolation)` : task.runtime
}

/** The node's name; one that does not answer is marked, for the state shown is the last that was heard. */
const nodeOf = (task: Task): string | null =>
  task.node_unreachable_since === null ? task.node_name : `${task.node_name} (unreachable)`

/** A line for each node that holds tasks and does not answer. */
function silenceLines(terminal: Terminal, { tasks }: Experiment): string {
  const since = new Map(tasks.map((t) => [t.node_name, t.node_unreachable_since]))
  return [...since]
    .filter(([, from]) => from !== null)
    .map(
      ([name, from]) =>
        `${terminal.paint('yellow', 'warning:')} node ${plain(name ?? '-')} unreachable since ${from}\n`,
    )
    .join('')
}

export const resourcesText = (r: Resources): string =>
  `cpu=${r.cpu} memory=${formatBytes(r.memory)}${r.gpu ? ` gpu=${r.gpu}` : ''}`

const unique = (values: readonly (string | null)[]) =>
  [...new Set(values.filter((v) => v !== null))].join(',') || '-'

export function experimentTable(terminal: Terminal, experiments: readonly Experiment[]): string {
  const columns: Column<Experiment>[] = [
    { title: 'ID', cell: (e) => e.id },
    { title: 'NAME', cell: (e) => e.name },
    { title: 'STATE', cell: (e) => terminal.paint(stateStyle[e.state], e.state) },
    { title: 'NODE', cell: (e) => unique(e.tasks.map(nodeOf)) },
    {
      title: 'RUNTIME',
      cell: (e) => unique(e.tasks.map((t) => (t.runtime === null ? null : runtimeOf(t)))),
    },
    { title: 'OWNER', cell: (e) => plain(e.owner) },
    { title: 'AGE', cell: (e) => ago(e.created_at) },
  ]
  return table(columns, experiments)
}

const tagsOf = ({ spec, tags }: Experiment): string[] => [
  ...spec.tags,
  ...Object.entries(tags).map(([key, value]) => `${key}=${value}`),
]

/** With the digest that the name meant when it was submitted, where the cluster keeps the image. */
function imagesOf({ roles }: Experiment['spec']): string {
  const texts = Object.values(roles).flatMap(({ image, image_digest: digest }) =>
    image === undefined ? [] : [image + (digest === undefined ? '' : ` (${digest.slice(0, 19)})`)],
  )
  return plain([...new Set(texts)].join(', ')) || "the node's"
}

/** What it asked of the scheduler; the queue and the class always, the rest where it was given. */
function schedulingOf(spec: Experiment['spec']): [string, string][] {
  const { team, queue = 'default', priority, timeout_seconds, retries, array, loss_policy } = spec
  const rows: [string, string][] = [
    ['queue', queue + (team === undefined ? '' : `, for the team ${team}`)],
    ['class', priority ?? "the queue's"],
  ]
  if (timeout_seconds !== undefined) rows.push(['timeout', formatDuration(timeout_seconds)])
  if (retries)
    rows.push(['retries', `${retries.limit}, after ${formatDuration(retries.backoff_seconds)} at first`])
  if (array) rows.push(['array', arrayText(array)])
  if (loss_policy) rows.push(['lost node', lossText(loss_policy)])
  return rows
}

function arrayText({ indices, limit }: NonNullable<Experiment['spec']['array']>): string {
  const [first = 0, last = 0] = [indices[0], indices.at(-1)]
  const isRun = last - first === indices.length - 1
  const shown = isRun
    ? `${first}-${last}`
    : `${indices.slice(0, 8).join(',')}${indices.length > 8 ? ',…' : ''}`
  return `${counted(indices.length, 'task')} (${shown})${limit === undefined ? '' : `, ${limit} at once`}`
}

const lossText = (policy: NonNullable<Experiment['spec']['loss_policy']>): string =>
  policy.kind === 'lease' ? `lease of ${formatDuration(policy.seconds)}` : policy.kind

export function experimentDetails(terminal: Terminal, e: Experiment): string {
  const head = properties([
    ['id', e.id],
    ['name', e.name],
    ['owner', plain(e.owner)],
    ['state', terminal.paint(stateStyle[e.state], e.state) + (e.stop_requested ? ' (stop requested)' : '')],
    ['reason', reasonOf(e)],
    ['created', e.created_at],
    ['started', e.started_at ?? '-'],
    ['finished', e.finished_at ?? '-'],
    ['image', imagesOf(e.spec)],
    ...schedulingOf(e.spec),
    ['description', plain(e.description) || '-'],
    ['tags', plain(tagsOf(e).join(', ')) || '-'],
  ])
  const columns: Column<Task>[] = [
    { title: 'TASK', cell: taskName },
    { title: 'STATE', cell: (t) => terminal.paint(stateStyle[t.state], t.state) },
    { title: 'ATTEMPT', cell: (t) => String(t.attempt) },
    { title: 'NODE', cell: (t) => nodeOf(t) ?? '-' },
    { title: 'RUNTIME', cell: runtimeOf },
    { title: 'RESOURCES', cell: (t) => resourcesText(t.resources) },
    { title: 'EXIT', cell: (t) => String(t.exit_code ?? '-') },
    { title: 'REASON', cell: reasonOf },
  ]
  return `${head}\n${table(columns, e.tasks)}${silenceLines(terminal, e)}`
}

const percent = (value: number | undefined) => (value === undefined ? '-' : `${Math.round(value)}%`)

/** Beside how it lives: whether it takes new work. */
function useOf({ cordon }: Node): string {
  if (!cordon) return ''
  return cordon.drain ? ', draining' : ', cordoned'
}

export function nodeTable(terminal: Terminal, nodes: readonly Node[]): string {
  const columns: Column<Node>[] = [
    { title: 'NAME', cell: (n) => n.name },
    { title: 'ID', cell: (n) => n.id },
    {
      title: 'STATE',
      cell: (n) => terminal.paint(n.liveness === 'ready' ? 'green' : 'red', n.liveness) + useOf(n),
    },
    { title: 'ROLE', cell: (n) => n.role },
    { title: 'ADDRESS', cell: (n) => plain(n.address) },
    { title: 'CPU', cell: (n) => `${n.allocated.cpu}/${n.allocatable?.cpu ?? '-'}` },
    {
      title: 'MEMORY',
      cell: (n) =>
        `${formatBytes(n.allocated.memory)}/${n.allocatable ? formatBytes(n.allocatable.memory) : '-'}`,
    },
    { title: 'GPU', cell: (n) => `${n.allocated.gpu}/${n.allocatable?.gpu ?? '-'}` },
    { title: 'TASKS', cell: (n) => String(n.tasks) },
    { title: 'LOAD', cell: (n) => percent(n.usage?.cpu_percent) },
    { title: 'RUNTIMES', cell: (n) => n.inventory?.runtimes.join(',') ?? '-' },
  ]
  return table(columns, nodes)
}

function cordonText({ by, at, reason, drain }: NonNullable<Node['cordon']>): string {
  const why = `by ${by} at ${at}${reason && `: ${reason}`}`
  if (!drain) return `none, ${why}`
  const then = drain.reboot ? ', then restarted' : drain.power_off ? ', then switched off' : ''
  return `none, emptied until ${drain.deadline}${then}, ${why}`
}

const gpuSummary = ({ inventory, allocatable }: Node): string => {
  const gpus = inventory?.gpus.filter((gpu) => !gpu.mig_mode) ?? []
  if (!gpus.length) return 'none'
  const driver = gpus.find((gpu) => gpu.driver)
  const cuda = driver?.cuda ? `, CUDA ${driver.cuda}` : ''
  return plain(
    `${gpus.length}, ${allocatable?.gpu ?? 0} of them handed out to tasks${driver?.driver ? `; driver ${driver.driver}${cuda}` : ''}`,
  )
}

export function nodeDetails(terminal: Terminal, n: Node): string {
  const i = n.inventory
  const disk = n.usage && `${formatBytes(n.usage.disk_free)} free of ${formatBytes(n.usage.disk_total)}`
  const head = properties([
    ['name', n.name],
    ['id', n.id],
    ['address', plain(n.address)],
    ['role', n.role],
    [
      'state',
      n.liveness +
        (n.unreachable_since === null ? '' : ` since ${n.unreachable_since}`) +
        (n.silent_ms === null ? '' : ` (heard ${n.silent_ms} ms ago)`),
    ],
    ['new work', n.cordon ? plain(cordonText(n.cordon)) : 'taken'],
    [
      'labels',
      plain(
        Object.entries(n.labels ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(', '),
      ) || '-',
    ],
    ['joined', n.joined_at],
    ['copy of the state', n.state_differs ? plain(`DIFFERS: ${n.state_differs}`) : 'as the others'],
    ['host', i ? plain(`${i.hostname}, ${i.os}, ${i.kernel}, ${i.arch}`) : '-'],
    ['cpu', i ? plain(`${i.cpu.cores} × ${i.cpu.model}`) : '-'],
    ['memory', i ? formatBytes(i.memory) : '-'],
    ['disk', (disk ?? '-') + (n.usage?.disk_low ? ' DISK LOW' : '')],
    ['gpus', gpuSummary(n)],
    ['docker', i?.docker ? `${i.docker.version} (API ${i.docker.api})` : 'none'],
    ['runtimes', i?.runtimes.join(', ') ?? '-'],
    ['allocatable', n.allocatable ? resourcesText(n.allocatable) : '-'],
    ['allocated', `${resourcesText(n.allocated)} by ${n.tasks} tasks`],
  ])
  return head + nodeGpus(terminal, n)
}

export function clusterDetails(terminal: Terminal, c: Cluster): string {
  const leader = c.members.find((m) => m.leader)
  const head = properties([
    ['cluster', `${plain(c.name)} (${c.id})`],
    ['leader', leader?.name ?? terminal.paint('red', 'none')],
    ['term', String(c.term)],
    ['applied', `${c.applied_index} of ${c.commit_index}`],
    ['voters', `${c.voters}, of which ${c.may_fail} may fail`],
  ])
  const members = table<Cluster['members'][number]>(
    [
      { title: 'MEMBER', cell: (m) => String(m.member) },
      { title: 'NODE', cell: (m) => plain(m.name) },
      { title: 'ADDRESS', cell: (m) => plain(m.address) },
      { title: 'ROLE', cell: (m) => m.role + (m.leader ? ' (leader)' : '') },
      {
        title: 'REACHABLE',
        cell: (m) => (m.reachable === null ? 'unknown' : m.reachable ? 'yes' : terminal.paint('red', 'no')),
      },
    ],
    c.members,
  )
  const warnings = c.warnings.map((w) => `${terminal.paint('yellow', 'warning:')} ${plain(w)}\n`).join('')
  return `${head}\n${members}${warnings}`
}

/** The reason is added where the message does not tell it already. */
export function eventLine(e: Event): string {
  const { reason } = e
  const why = reason
    ? e.message.includes(reason.message)
      ? reason.code
      : `${reason.code}: ${reason.message}`
    : ''
  const text = `${e.subject.kind}/${e.subject.id}  ${e.message}${why && ` (${why})`}`
  return `${e.at}  ${e.code.padEnd(20)}  ${plain(text)}\n`
}
