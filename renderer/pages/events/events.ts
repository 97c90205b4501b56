import type { Event, Experiment } from '../../../contract/objects.ts'
import { href } from '../../app/routes.ts'

export type Tone = 'good' | 'bad' | 'busy' | 'plain'

/** Codes read `task.failed`, `node.unreachable`: the last word carries the weight. */
export function toneOf({ code }: Pick<Event, 'code'>): Tone {
  const word = code.split('.').at(-1) ?? ''
  if (/fail|unreach|lost|expel|refus|error|oom|kill|low/.test(word)) return 'bad'
  if (/succeed|ready|joined|return|elected/.test(word)) return 'good'
  if (/running|start|placed|created|accepted|signed_in/.test(word)) return 'busy'
  return 'plain'
}

interface Known {
  readonly experiments: readonly Experiment[]
  experiment(id: string): Experiment | undefined
  nodeName(id: string | null): string | null
}

/** A message cut at the name of what it is about, so that the name can be a link. */
export interface Told {
  readonly before: string
  readonly name: string
  readonly at: string
  readonly after: string
}

export function told(
  { subject, message }: Pick<Event, 'subject' | 'message'>,
  known: Known,
): Told | undefined {
  const { kind, id } = subject
  if (kind === 'node') {
    const name = known.nodeName(id) ?? id
    return cut(message, name, name, href('node', { name }))
  }
  if (kind === 'experiment') {
    const experiment = known.experiment(id)
    return experiment && cut(message, experiment.name, experiment.name, href('experiment', { id }))
  }
  if (kind !== 'task') return undefined
  for (const { id: workload, name, tasks } of known.experiments) {
    const task = tasks.find((one) => one.id === id)
    // The task's id is for machines; its experiment's name is what people know it by.
    if (task)
      return cut(message, id, `${name} ${task.role}-${task.index}`, href('experiment', { id: workload }))
  }
  return undefined
}

function cut(message: string, wanted: string, name: string, at: string): Told | undefined {
  const start = message.indexOf(wanted)
  if (start < 0) return undefined
  return { before: message.slice(0, start), name, at, after: message.slice(start + wanted.length) }
}

/** Without what a lone task tells: its experiment tells the same. */
export function withoutEchoes(
  events: readonly Event[],
  experiments: readonly Experiment[],
): readonly Event[] {
  const lone = new Set(
    experiments.flatMap(({ tasks: [first, second] }) => (first && !second ? first.id : [])),
  )
  return events.filter(({ subject }) => subject.kind !== 'task' || !lone.has(subject.id))
}

/** Two lists of events as one, newest first, none twice. */
export function merged(live: readonly Event[], read: readonly Event[]): readonly Event[] {
  const known = new Set(read.map(({ id }) => id))
  return [...live.filter(({ id }) => !known.has(id)), ...read].sort((a, b) =>
    a.at < b.at ? 1 : a.at > b.at ? -1 : 0,
  )
}
