import type { CallOutput } from '../../../contract/client.ts'
import type { Image } from '../../../contract/images.ts'
import type { Api } from '../../api/client.ts'
import { bytes, count, share } from '../../ui/format.ts'

export type OnNode = Image['nodes'][number]

/** What a node has of an image, or does about it just now. */
export interface Place {
  readonly kind: 'none' | 'layers' | 'engine' | 'asked' | 'coming' | 'failed'
  readonly text: string
  /** Of what is on its way; null while nobody knows how much it is. */
  readonly share?: number | null
  /** Why the last try failed. */
  readonly why?: string
}

export function placeOf({ engine, layers, pull, job }: OnNode): Place {
  if (job?.reason) {
    const text = job.kind === 'pull' ? 'could not get it' : 'could not remove it'
    return { kind: 'failed', text, why: job.reason.message }
  }
  if (pull) {
    const text = pull.total === null ? bytes(pull.bytes) : `${bytes(pull.bytes)} of ${bytes(pull.total)}`
    return { kind: 'coming', text, share: share(pull.bytes, pull.total) }
  }
  if (job) return { kind: 'asked', text: job.kind === 'pull' ? 'is to get it' : 'is to remove it' }
  if (engine) return { kind: 'engine', text: layers ? 'ready, keeps a copy' : 'ready' }
  return layers ? { kind: 'layers', text: 'keeps a copy' } : { kind: 'none', text: '–' }
}

/** Where there are too many nodes for a column each: `ready on 12 of 40, 1 on its way, 2 failed`. */
export function summary(nodes: readonly OnNode[]): string {
  const kinds = nodes.map((node) => placeOf(node).kind)
  const number = (...of: Place['kind'][]) => kinds.filter((kind) => of.includes(kind)).length
  const ready = nodes.filter(({ engine }) => engine).length
  const parts = [`ready on ${ready} of ${nodes.length}`]
  const [coming, failed] = [number('coming', 'asked'), number('failed')]
  if (coming) parts.push(`${coming} on the way`)
  if (failed) parts.push(`${failed} failed`)
  return parts.join(', ')
}

/** Is a node about to change what it has? Then it is worth looking again soon. */
export const isBusy = (images: readonly Image[]): boolean =>
  images.some(({ nodes }) => nodes.some(({ pull, job }) => pull !== null || (job && !job.reason)))

/** What people call it; of an image without a name, its digest. */
export const nameOf = ({ names, id }: Image): string => names[0] ?? id.slice(0, 19)
/** What the API takes for it. */
export const refOf = ({ names, id }: Image): string => names[0] ?? id

export async function allImages(api: Api): Promise<Image[]> {
  const items: Image[] = []
  for (let token: string | null | undefined; token !== null;) {
    const query = { page_size: 1000, ...(token === undefined ? {} : { page_token: token }) }
    const page: CallOutput<'images.list'> = await api.call('images.list', { query })
    items.push(...page.items)
    token = page.next_page_token
  }
  return items
}

const day = 86_400

/** Days as the policy's fields show them; empty: for ever. */
export const daysOf = (seconds: number | null): string => (seconds === null ? '' : String(seconds / day))

/** Seconds of such a field; undefined for what is no number of days. */
export function secondsOf(days: string): number | null | undefined {
  const text = days.trim()
  if (text === '') return null
  const seconds = Math.round(Number(text) * day)
  return /^\d+(\.\d+)?$/.test(text) && seconds <= 100 * 365 * day ? seconds : undefined
}

/** What a clean-up takes away, in words. */
export function cleanUpWords({ engines, cluster }: CallOutput<'images.collect'>): string[] {
  return [
    ...cluster.map(({ image, bytes: size }) => `${image} from the cluster (${bytes(size)})`),
    ...engines.map(({ image, node, bytes: size }) => `${image} from ${node} (${bytes(size)})`),
  ]
}

export const copiesOf = ({ imported, copies }: Image): string =>
  imported ? count(copies, 'copy', 'copies') : 'engines only'
