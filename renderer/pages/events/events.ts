import type { Event, Experiment } from '../../../contract/objects.ts'

export type Tone = 'good' | 'bad' | 'busy' | 'plain'

/** Codes read `task.failed`, `node.unreachable`: the last word carries the weight. */
export function toneOf({ code }: Pick<Event, 'code'>): Tone {
  const word = code.split('.').at(-1) ?? ''
  if (/fail|unreach|lost|expel|refus|error|oom|kill|low/.test(word)) return 'bad'
  if (/succeed|ready|joined|return|elected/.test(word)) return 'good'
  if (/running|start|placed|created|submitted|accepted/.test(word)) return 'busy'
  return 'plain'
}

interface Known {
  readonly experiments: readonly Experiment[]
  experiment(id: string): Experiment | undefined
  nodeName(id: string | null): string | null
}

export interface Subject {
  readonly name: string
  readonly experiment?: string
  readonly node?: string
}

/** What the event is about, by the name people gave it. */
export function subjectOf({ subject }: Pick<Event, 'subject'>, known: Known): Subject {
  const { kind, id } = subject
  if (kind === 'node') {
    const name = known.nodeName(id) ?? id
    return { name, node: name }
  }
  const experiment =
    kind === 'experiment'
      ? known.experiment(id)
      : kind === 'task'
        ? known.experiments.find(({ tasks }) => tasks.some((task) => task.id === id))
        : undefined
  return experiment ? { name: experiment.name, experiment: experiment.id } : { name: id }
}

/** Two lists of events as one, newest first, none twice. */
export function merged(live: readonly Event[], read: readonly Event[]): readonly Event[] {
  const known = new Set(read.map(({ id }) => id))
  return [...live.filter(({ id }) => !known.has(id)), ...read].sort((a, b) =>
    a.at < b.at ? 1 : a.at > b.at ? -1 : 0,
  )
}
