import { normalImage, ProblemError } from '../../../contract/index.ts'
import { idsOf, isWanted } from '../images.ts'
import type { ImageCommand } from '../commands/image.ts'
import type { ImageRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { checkKey } from './cluster-key.ts'

type Of<T extends ImageCommand['type']> = Extract<ImageCommand, { type: T }>

const shown = (row: Pick<ImageRow, 'digest' | 'names'>) => row.names[0] ?? row.digest.slice(0, 19)

/** The same image again adds its names and holders. */
export function importImage(tx: Transaction, command: Of<'image.import'>): void {
  const { digest, media_type, manifests, created_at } = command
  const names = [...new Set(command.names.map(normalImage))]
  for (const name of names) takeName(tx, name, digest)
  const before = tx.get('images', digest)
  tx.put('images', digest, {
    digest,
    media_type,
    manifests,
    names: union(before?.names, names),
    holders: union(before?.holders, command.holders),
    created_at,
    imported_at: tx.at,
    imported_by: tx.actor,
    last_used_at: before?.last_used_at ?? null,
  })
  tx.event(
    'image.imported',
    { kind: 'image', id: digest },
    `${tx.who} imported ${names.join(', ') || digest}`,
  )
}

const union = <T>(some: readonly T[] = [], more: readonly T[]): T[] => [...new Set([...some, ...more])]

/** A name means one image: the newest that it was given to. */
function takeName(tx: Transaction, name: string, digest: string): void {
  for (const row of tx.state.images.values()) {
    if (row.digest === digest || !row.names.includes(name)) continue
    tx.put('images', row.digest, { ...row, names: row.names.filter((one) => one !== name) })
    const message = `${name} is another image from now on: ${digest.slice(0, 19)} instead of ${row.digest.slice(0, 19)}`
    tx.event('image.renamed', { kind: 'image', id: row.digest }, message)
  }
}

export function hold(tx: Transaction, { digest, holders }: Of<'image.hold'>): void {
  const row = tx.need('images', digest, 'image')
  const more = holders.filter((node) => !row.holders.includes(node))
  if (more.length) tx.put('images', digest, { ...row, holders: [...row.holders, ...more] })
}

export function remove(tx: Transaction, { digest, name }: Of<'image.remove'>): void {
  const row = tx.need('images', digest, 'image')
  const normal = name === undefined ? undefined : normalImage(name)
  if (normal !== undefined && !row.names.includes(normal))
    throw new ProblemError('not_found', `the image ${digest} is not called ${normal}`)
  if (isWanted(tx.state, { ...row, names: normal === undefined ? row.names : [normal] }))
    throw new ProblemError('conflict', `something waits for ${normal ?? shown(row)} or runs from it`, {
      hint: 'Stop the experiments that name it, or wait for their end; see `submarine experiment list`.',
    })
  const subject = { kind: 'image', id: digest } as const
  const names = row.names.filter((one) => one !== normal)
  if (normal !== undefined && names.length > 0) {
    tx.put('images', digest, { ...row, names })
    return tx.event(
      'image.renamed',
      subject,
      `${tx.who} took the name ${normal} from ${shown({ digest, names })}`,
    )
  }
  tx.delete('images', digest)
  tx.event('image.removed', subject, `${tx.who} removed the image ${shown(row)}`)
}

/** A task started from it. */
export function noteUse(tx: Transaction, id: string): void {
  const row = tx.state.images.get(id) ?? tx.state.images.find((one) => idsOf(one).includes(id))
  if (row) tx.put('images', row.digest, { ...row, last_used_at: tx.at })
}

export function ask(tx: Transaction, { kind, image: given, nodes }: Of<'image.job'>): void {
  const image = normalImage(given)
  for (const id of nodes) {
    const node = tx.need('nodes', id, 'node')
    if (!node.inventory?.runtimes.includes('docker'))
      throw new ProblemError('conflict', `${node.name} has no Docker Engine`, {
        hint: 'Name nodes that have one; see `submarine node list`.',
      })
    const key = `${id}/${image}`
    if (tx.get('imageJobs', key)?.kind === kind && !tx.get('imageJobs', key)?.reason) continue
    tx.put('imageJobs', key, {
      node: id,
      kind,
      image,
      asked_at: tx.at,
      asked_by: tx.actor,
      reason: null,
    })
    const subject = { kind: 'node', id } as const
    if (kind === 'pull') tx.event('image.pull_asked', subject, `${tx.who} asked ${node.name} to get ${image}`)
    else tx.event('image.remove_asked', subject, `${tx.who} asked ${node.name} to remove ${image} from its engine`) // prettier-ignore
  }
}

export function done(tx: Transaction, { node: id, image, reason }: Of<'image.done'>): void {
  const key = `${id}/${image}`
  const job = tx.get('imageJobs', key)
  if (!job) return
  const name = tx.get('nodes', id)?.name ?? id
  const subject = { kind: 'node', id } as const
  const pull = job.kind === 'pull'
  if (reason) {
    tx.put('imageJobs', key, { ...job, reason })
    const what = pull ? `could not get ${image}` : `could not remove ${image}`
    return tx.event(pull ? 'image.pull_failed' : 'image.remove_failed', subject, `${name} ${what}: ${reason.message}`, reason) // prettier-ignore
  }
  tx.delete('imageJobs', key)
  if (pull) tx.event('image.pulled', subject, `${name} has ${image} now`)
  else tx.event('image.evicted', subject, `${name} has removed ${image} from its engine`)
}

export function setPolicy(tx: Transaction, { policy }: Of<'image.policy'>): void {
  tx.put('imagePolicy', 'self', policy)
  const words = (seconds: number | null) => (seconds === null ? 'for ever' : `${seconds / 86_400} days`)
  const message = `${tx.who} has unused images kept: ${words(policy.engine_unused_seconds)} in engines, ${words(policy.cluster_unused_seconds)} by the cluster`
  tx.event('image.policy_changed', { kind: 'cluster', id: 'self' }, message)
}

export function report(tx: Transaction, { node, images }: Of<'node.images'>): void {
  tx.need('nodes', node, 'node')
  tx.put('engineImages', node, { images })
}

/** A node that left: nobody asks it for anything any more. */
export function forgetNode(tx: Transaction, node: string): void {
  tx.delete('engineImages', node)
  for (const [key, job] of tx.state.imageJobs) if (job.node === node) tx.delete('imageJobs', key)
}

export function putRegistry(tx: Transaction, { type: _, ...given }: Of<'registry.put'>): void {
  checkKey(tx, given.sealed)
  const known = tx.get('registries', given.host) !== undefined
  tx.put('registries', given.host, { ...given, added_at: tx.at, added_by: tx.actor })
  const message = `${tx.who} ${known ? 'changed what is told to' : 'added'} the registry ${given.host}`
  tx.event(known ? 'registry.changed' : 'registry.added', { kind: 'registry', id: given.host }, message)
}

export function removeRegistry(tx: Transaction, { host }: Of<'registry.remove'>): void {
  tx.need('registries', host, 'registry')
  tx.delete('registries', host)
  tx.event('registry.removed', { kind: 'registry', id: host }, `${tx.who} removed the registry ${host}`)
}
