import { randomBytes } from 'node:crypto'
import { openAsBlob } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { layerOf, savedParts } from '../agent/services/testing/image-archives.ts'
import type { Image } from '../contract/index.ts'
import { eventually, Lab } from '../test/cluster/lab.ts'
import { SlowLink } from '../test/cluster/slow-link.ts'
import { type Engine, startEngine } from '../test/docker/engine.ts'
import { type Row, row } from './report.ts'

const MB = 1_000_000
const layers = 3

export interface ImagesOptions {
  readonly megabytes: number
  /** MB a second that each host's link lets through, each way. */
  readonly rate: number
  /** How many further nodes get it beside those that keep its layers. */
  readonly nodes: number
}

/**
 * An image that two nodes keep goes to so many others at once, every host's link being slow; beside it, one that goes
 * to a single node, which is what one transfer and the engine's unpacking take at best.
 */
export async function images({ megabytes, rate, nodes }: ImagesOptions): Promise<Row[]> {
  // An engine's sockets need a short path.
  const root = await mkdtemp('/tmp/b-')
  const stops: (() => Promise<unknown> | void)[] = [() => rm(root, { recursive: true, force: true })]
  try {
    const engines: Engine[] = []
    for (let at = 0; at < nodes + 2; at++) {
      const engine = await startEngine({ root: path.join(root, `${at}`) })
      stops.unshift(() => engine.stop())
      engines.push(engine)
    }
    const links: SlowLink[] = []
    const lab = await Lab.start({
      agents: nodes + 2,
      docker: engines.map(({ socket }) => ({ socket })),
      link: async ({ tls }) => {
        links.push(await SlowLink.open(tls))
        return links.at(-1)?.port ?? tls
      },
    })
    stops.unshift(() => lab.stop())
    stops.unshift(() => links.forEach((link) => link.close()))
    const one = await bring({ root, lab, links, megabytes, rate, most: 1, name: 'one:v1' })
    const all = await bring({ root, lab, links, megabytes, rate, most: nodes, name: 'all:v1' })
    return [
      row('one transfer at the rate of the link', 's', [megabytes / rate], []),
      row('image to 1 further node', 's', [one.seconds], []),
      row(`image to ${nodes} further nodes`, 's', [all.seconds], []),
      row(`image to ${nodes} further nodes, over one transfer`, '×', [all.seconds / (megabytes / rate)], []),
      row(`image to ${nodes} further nodes, over 1 further node`, '×', [all.seconds / one.seconds], []),
      row('given away by the nodes that keep it', 'MB', [all.givenByKeepers / MB], []),
    ]
  } finally {
    for (const stop of stops) await stop()
  }
}

interface Bring extends Omit<ImagesOptions, 'nodes'> {
  readonly root: string
  readonly lab: Lab
  readonly links: readonly SlowLink[]
  readonly most: number
  readonly name: string
}

/** From the request until every node's engine has it. */
async function bring({ root, lab, links, megabytes, rate, most, name }: Bring) {
  const made = await importNew(path.join(root, 'image.tar'), lab, megabytes, name)
  const further = made.nodes.flatMap((node, at) => (node.layers ? [] : [at])).slice(0, most)
  const keepers = made.nodes.flatMap((node, at) => (node.layers ? [at] : []))
  const given = () => keepers.reduce((sum, at) => sum + (links[at]?.sent ?? 0), 0)
  for (const link of links) link.rate = rate * MB
  const [before, begun] = [given(), performance.now()]
  const asked = further.map((at) => lab.agents[at]?.name ?? '')
  await lab.client().call('images.pull', { body: { image: name, nodes: asked } })
  await eventually(
    `${name} is there`,
    async () => {
      const { nodes } = await lab.client().call('images.get', { params: { image: name } })
      const failed = nodes.find(({ job }) => job?.reason)
      if (failed) throw new Error(failed.job?.reason?.message)
      return further.every((at) => nodes[at]?.engine && !nodes[at]?.job)
    },
    (megabytes / rate) * 10 + 60,
  )
  const seconds = (performance.now() - begun) / 1000
  for (const link of links) link.rate = Infinity
  return { seconds, givenByKeepers: given() - before }
}

/** Of random bytes: nothing is saved by compressing, and no layer is there already. */
async function importNew(file: string, lab: Lab, megabytes: number, name: string): Promise<Image> {
  const size = Math.round((megabytes * MB) / layers)
  const made = Array.from({ length: layers }, () => layerOf(randomBytes(size)))
  const handle = await open(file, 'w')
  try {
    for (const part of savedParts([{ layers: made, names: [name] }])) await handle.writeFile(part)
  } finally {
    await handle.close()
  }
  const response = await lab.client().raw('images.import', { query: {} }, await openAsBlob(file))
  const [image] = ((await response.json()) as { items: Image[] }).items
  if (!image) throw new Error('nothing was imported')
  return image
}
