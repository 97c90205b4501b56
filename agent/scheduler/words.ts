import {
  type Constraint,
  formatBytes,
  formatConstraint,
  type Reason,
  type Resources,
} from '../../contract/index.ts'
import { calledFor } from '../cluster/called.ts'
import { meets } from '../cluster/rules/constraints.ts'
import type { ReservationRow } from '../cluster/state.ts'
import type { Workload } from '../cluster/workloads.ts'
import type { Board } from './board.ts'
import { amount, runtimeFor } from './fit.ts'
import { type Gang, gpusOf } from './gang.ts'
import type { Hold } from './holds.ts'
import type { Shape } from './shape.ts'
import type { Site } from './site.ts'

/** The rule that keeps a gang waiting. */
export interface Why {
  readonly code: string
  /** It keeps every workload of the same needs and owner waiting. */
  readonly forAll: boolean
  /** It keeps all of its lane waiting that may run so long or longer, ms. */
  readonly from?: number
  /** Made when somebody wants to read it. */
  readonly reason: () => Reason
}

/** Of more nodes than this only the number is told. */
const mostNodes = 6

function lazily(code: string, forAll: boolean, message: () => string): Why {
  let made: Reason | undefined
  return { code, forAll, reason: () => (made ??= { code, message: message() }) }
}

export const why = {
  noRoom(board: Board, gang: Gang): Why {
    return lazily('no_room', true, () => noRoomText(board, gang))
  },
  quota: (reason: Reason): Why => ({ code: reason.code, forAll: true, reason: () => reason }),
  notBefore: (time: string): Why => lazily('not_before', false, () => `it is tried again at ${clock(time)}`),
  arrayLimit: ({ array_limit }: Workload): Why =>
    lazily('array_limit', false, () => `${array_limit} of its tasks run at once, and so many do`),
  nominated: (): Why =>
    lazily('preempting', false, () => 'others were asked to make room for it, and have not left yet'),
  preempts: (names: readonly string[]): Why =>
    lazily('preempting', false, () => `${listed(names)} ${names.length > 1 ? 'make' : 'makes'} room for it`),
  kept: (
    holds: readonly Hold[],
    reservations: readonly ReservationRow[],
    workload: Workload,
    from: number,
  ): Why => ({
    ...lazily(holds.length ? 'behind' : 'reserved', false, () => keptText(holds, reservations, workload)),
    from,
  }),
}

function keptText(
  holds: readonly Hold[],
  reservations: readonly ReservationRow[],
  workload: Workload,
): string {
  const parts = holds.map(({ kind, owner, at, certain }) => {
    const name = calledFor(workload, owner)
    if (kind === 'nominated') return `${name}, for which others made it`
    return certain ? `${name}, which is ahead and starts by ${clock(at)}` : `${name}, which is ahead`
  })
  parts.push(...reservations.map(({ name }) => `the reservation ${name}`))
  const hint = workload.limit_seconds === null ? '; with a time limit it could run until then' : ''
  return `the room there is, is kept for ${listed(parts)}${hint}`
}

export const clock = (time: string | number): string =>
  `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`

export function listed(names: readonly string[]): string {
  const shown = names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} more`] : names
  return shown.length > 1 ? `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}` : (shown[0] ?? '')
}

function noRoomText(board: Board, gang: Gang): string {
  if (!board.sites.length) return 'no node has joined yet'
  const part =
    gang.parts.find(({ shape, tasks }) => board.capacity(shape).total < tasks.length) ?? gang.parts[0]
  if (!part) return 'no node has room'
  const { total, of } = board.capacity(part.shape)
  const lacking = board.sites.filter((site) => of[site.index] === 0)
  const texts = lacking
    .slice(0, mostNodes)
    .map((site) => `${site.row.name}: ${whyNotOn(board, part.shape, site)}`)
  if (lacking.length > mostNodes) texts.push(`${lacking.length - mostNodes} more nodes alike`)
  const nodes = texts.length ? ` (${texts.join('; ')})` : ''
  if (gang.tasks.length === 1) return `no node has room${nodes}`
  const role = gang.parts.length > 1 ? ` of ${part.tasks[0]?.role}` : ''
  const room =
    total < part.tasks.length ? `there is room for ${total}${role}` : 'they do not fit beside each other'
  return `its ${gang.tasks.length} tasks start together, and ${room}${nodes}`
}

export const whyNotOn = (board: Board, shape: Shape, site: Site): string =>
  reasonsOn(board, shape, site).map(({ message }) => message).join('; ') || 'fits' // prettier-ignore

const unmetWords = (constraint: Constraint): string =>
  constraint.attribute === 'kerberos' && constraint.operator === 'exists'
    ? 'has no kinit to get its Kerberos ticket with (the package krb5-user)'
    : `does not meet ${formatConstraint(constraint)}`

/** Every rule that keeps a task of the shape off a site, first things first; none when it fits. */
export function reasonsOn(board: Board, shape: Shape, site: Site, word: 'free' | 'there' = 'free'): Reason[] {
  if (site.closed) return [site.closed]
  const { row } = site
  if (!runtimeFor(row, { image: shape.image }))
    return [
      {
        code: 'no_runtime',
        message: shape.image ? 'has no Docker Engine' : 'has no default image; name one',
      },
    ]
  const unmet = shape.constraints.filter((constraint) => !meets(row, constraint))
  if (unmet.length) return unmet.map((one) => ({ code: 'constraint', message: unmetWords(one) }))
  const reasons: Reason[] = []
  const free = { cpu: site.cpu / 1000, memory: site.memory, disk: site.disk }
  for (const kind of ['cpu', 'memory', 'disk'] as const)
    if (shape.resources[kind] > free[kind])
      reasons.push({ code: `no_${kind}`, message: short(kind, shape.resources, { ...free, gpu: 0 }, word) })
  const gpu = gpuReason(board, shape, site, word)
  return gpu ? [...reasons, gpu] : reasons
}

const short = (kind: keyof Resources, asked: Resources, left: Resources, word: string): string =>
  `${amount(kind, asked)} asked, ${amount(kind, left)} ${word}`

function gpuReason(board: Board, shape: Shape, site: Site, word: string): Reason | undefined {
  const asked = gpusOf(shape)
  if (asked === 0) return undefined
  const { free, held, blocked } = board.devicesFor(shape, site)
  if (free.length >= asked && (shape.need?.share !== undefined || site.gpu >= asked)) return undefined
  const there = free.length + held.length + blocked.length
  if (there < asked && there < site.devices.length)
    return { code: 'no_gpu', message: `${gpuWords(asked, shape)} asked, ${gpuWords(there, shape)} there` }
  const why = blocked.map(({ blocked: reason }) => reason?.message).find(Boolean)
  const more = why ? ` (${blocked.length} not given out: ${why})` : ''
  const left = shape.need?.share === undefined ? Math.min(free.length, Math.max(0, site.gpu)) : free.length
  return {
    code: 'no_gpu',
    message: `${gpuWords(asked, shape)} asked, ${gpuWords(left, shape)} ${word}${more}`,
  }
}

/** `2 GPUs`, `1 A100 GPU of at least 40 GiB`, `3 slices 1g.10gb`. */
export function gpuWords(count: number, { need }: Pick<Shape, 'need'>): string {
  const plural = count === 1 ? '' : 's'
  if (need?.mig) return `${count} slice${plural} ${need.mig}`
  if (need?.share) return `${count} share${plural} of ${formatBytes(need.share)}`
  const least = need?.memory ? ` of at least ${formatBytes(need.memory)}` : ''
  return `${count} ${need?.model ? `${need.model} ` : ''}GPU${plural}${least}`
}
