import type { Explanation } from '../../contract/scheduling.ts'
import type { Terminal } from '../terminal.ts'
import { localTime } from './time.ts'
import { type Column, counted, plain, table } from './table.ts'

/** Of more nodes or names, only the number. */
const mostShown = 12

/** Where it goes, or why it waits: sentences first, then node by node. `tasks`: how many of it are not over. */
export function explanationText(terminal: Terminal, why: Explanation, tasks: number): string {
  const parts = why.placeable ? placed(why, 'it would be placed now') : waiting(terminal, why)
  const rest = tasks - why.placements.length
  if (why.placements.length && rest > 0)
    parts.push(`  and ${counted(rest, 'more task')} as room becomes free`)
  return parts.map((line) => `${line}\n`).join('')
}

function placed({ placements, nodes }: Explanation, head: string): string[] {
  const nameOf = (id: string) => nodes.find(({ node }) => node === id)?.name ?? id
  const where = placements.map(
    ({ task, node, gpus }) =>
      `  ${plain(task)} on ${plain(nameOf(node))}${gpus.length ? ` with ${gpus.map(plain).join(', ')}` : ''}`,
  )
  return [`${head}:`, ...where]
}

function waiting(terminal: Terminal, why: Explanation): string[] {
  if (why.position === null)
    return why.placements.length
      ? placed(why, 'it does not wait; it is placed')
      : [`it does not wait${why.reason ? `: ${plain(why.reason.message)}` : ''}`]
  const { expected_start: start } = why
  const rest = why.position - 1 - why.ahead.length
  return [
    ...why.rules.map(
      ({ code, message }) => `${terminal.paint('yellow', 'waits:')} ${plain(message)} (${code})`,
    ),
    `position ${why.position} in the queue`,
    ...why.ahead.map(
      (one) => `  ahead: ${plain(one.name)} of ${plain(one.owner)} (${one.workload}): ${plain(one.why)}`,
    ),
    ...(rest > 0 ? [`  and ${rest} more`] : []),
    start ? `expected start: ${localTime(start.at)}${start.confidence === 'low' ? ', a guess' : ' at the latest'}` : 'expected start: unknown, since something before it has no time limit', // prettier-ignore
    ...why.victims.map(
      (one) => `makes room for it: ${plain(one.name)} of ${plain(one.owner)} (${one.workload})`,
    ),
    ...why.help.map((text) => `${terminal.paint('green', 'would help:')} ${plain(text)}`),
    ...(why.nodes.length ? [nodeTable(why).trimEnd()] : []),
  ]
}

function nodeTable({ nodes }: Explanation): string {
  type Row = Explanation['nodes'][number]
  const columns: Column<Row>[] = [
    { title: 'NODE', cell: (n) => plain(n.name) },
    { title: 'FITS', cell: (n) => (n.fits ? 'yes' : 'no') },
    { title: 'WHY NOT', cell: (n) => plain(n.reasons.map(({ message }) => message).join('; ')) || '-' },
    { title: 'HELD BY', cell: (n) => holders(n) },
  ]
  const more = nodes.length > mostShown ? `and ${nodes.length - mostShown} more nodes\n` : ''
  return table(columns, nodes.slice(0, mostShown)) + more
}

function holders(node: Explanation['nodes'][number]): string {
  const byWorkload = Map.groupBy(node.holders, ({ workload }) => workload)
  const texts = [...byWorkload].map(([workload, tasks]) => {
    const gpus = tasks.reduce((sum, { resources }) => sum + resources.gpu, 0)
    return `${workload} of ${tasks[0]?.owner ?? '-'}${gpus ? ` (${gpus} GPU)` : ''}`
  })
  return plain(texts.join(', ')) || '-'
}
