import type { Image } from '../../contract/images.ts'
import { formatBytes } from '../../contract/resources.ts'
import { type Column, plain, properties, table } from './table.ts'

type OnNode = Image['nodes'][number]

const platformsOf = ({ platforms }: Image) =>
  [...new Set(platforms.map(({ architecture }) => architecture))].map(plain).join(',') || '-'

/** engine: a task starts at once; layers: it keeps a copy for the cluster. */
export function stateOn({ engine, layers, pull, job }: OnNode): string {
  if (pull) return pull.total ? `pulling ${Math.floor((pull.bytes / pull.total) * 100)} %` : 'pulling'
  if (job?.reason) return `${job.kind} failed`
  if (job) return job.kind === 'pull' ? 'to be pulled' : 'to be removed'
  return [...(engine ? ['engine'] : []), ...(layers ? ['layers'] : [])].join('+') || '-'
}

/** A column for each node. */
export function imageTable(images: readonly Image[]): string {
  const nodes = images[0]?.nodes ?? []
  const columns: Column<Image>[] = [
    { title: 'NAME', cell: ({ names }) => plain(names.join(', ')) || '-' },
    { title: 'ID', cell: ({ id }) => id.slice('sha256:'.length, 19) },
    { title: 'ARCH', cell: platformsOf },
    { title: 'SIZE', cell: ({ bytes }) => formatBytes(bytes) },
    { title: 'COPIES', cell: ({ imported, copies }) => (imported ? `${copies}` : '-') },
    ...nodes.map(({ node, name }) => ({
      title: plain(name),
      cell: (image: Image) => {
        const on = image.nodes.find((one) => one.node === node)
        return on ? stateOn(on) : '-'
      },
    })),
  ]
  return table(columns, images)
}

export function imageDetails(image: Image): string {
  const head = properties([
    ['id', image.id],
    ['names', plain(image.names.join(', ')) || '-'],
    [
      'platforms',
      image.platforms.map(({ os, architecture }) => `${plain(os)}/${plain(architecture)}`).join(', '),
    ],
    ['size', formatBytes(image.bytes)],
    ['layers', image.layers === null ? '-' : `${image.layers}`],
    ['copies', image.imported ? `${image.copies}` : 'none: only engines have it'],
    ['created', image.created_at ?? '-'],
    ['imported', image.imported_at ? `${image.imported_at} by ${plain(image.imported_by ?? '-')}` : '-'],
    ['last used', image.last_used_at ?? '-'],
  ])
  const columns: Column<OnNode>[] = [
    { title: 'NODE', cell: ({ name }) => plain(name) },
    { title: 'STATE', cell: stateOn },
    { title: 'REASON', cell: ({ job }) => plain(job?.reason?.message ?? '-') },
  ]
  return `${head}\n${table(columns, image.nodes)}`
}
