import {
  type Actor,
  type Asked,
  type Event,
  type Explanation,
  type Node,
  permits,
} from '../../contract/index.ts'
import type { ExperimentRow, State } from '../cluster/state.ts'
import { askedOfSecret } from '../cluster/secret-access.ts'
import { askedOf, mayRead, ownOf } from './access.ts'

type Rows = Pick<State, 'experiments' | 'tasks' | 'secrets'>

/** What is the cluster's own anybody sees who is signed in; what is somebody's, those who see that. */
export function mayReadEvent(actor: Actor, state: Rows, event: Event): boolean {
  return permits(actor, 'event:read', askedOfEvent(actor, state, event))
}

function askedOfEvent(actor: Actor, state: Rows, { subject: { kind, id }, actor: by }: Event): Asked {
  switch (kind) {
    case 'experiment':
    case 'task': {
      const row = state.experiments.get(kind === 'task' ? (state.tasks.get(id)?.workload ?? '') : id)
      // Of what is gone nobody knows any more who saw it.
      return row ? askedOf(row) : {}
    }
    case 'secret': {
      const row = state.secrets.get(id)
      // Of what is gone its owner may know.
      return row ? askedOfSecret(row) : { owner: id.split('/')[0] ?? id }
    }
    case 'user':
      return { owner: id }
    case 'team':
      return ofTeam(id)
    case 'token':
      return by.startsWith('user:') ? { owner: by.slice('user:'.length) } : {}
    case 'quota':
      return ofSubject(actor, id)
    default:
      return ownOf(actor)
  }
}

const ofTeam = (team: string): Asked => ({ team, sharing: { visibility: 'team', shares: [] } })

/** `user:ana` is ana's, `team:bio` of its members; `user:*`, `team:*` and `cluster` are everybody's business. */
export function ofSubject(actor: Actor, subject: string): Asked {
  const [kind, name = '*'] = subject.split(':')
  if (name === '*') return ownOf(actor)
  return kind === 'team' ? ofTeam(name) : { owner: name }
}

/** Somebody else's work is called by whose it is where its name is not for everybody's ears. */
export function namesFor(actor: Actor, state: Pick<State, 'experiments'>) {
  return <T extends { readonly workload: string }>(one: T): T => {
    const row: ExperimentRow | undefined = state.experiments.get(one.workload)
    if (!row || mayRead(actor, row)) return one
    const name = 'name' in one ? { name: `work of ${row.owner}` } : {}
    return { ...one, workload: '', ...name, ...('task' in one ? { task: '' } : {}) }
  }
}

/** An explanation, for those who may know of what is explained, but not of everything else. */
export function explanationFor(actor: Actor, state: State, made: Explanation): Explanation {
  const named = namesFor(actor, state)
  return {
    ...made,
    // Why that one waits was written for those who read of it.
    ahead: made.ahead.map((one) => {
      const known = named(one)
      return known === one ? one : { ...known, why: 'is placed first' }
    }),
    victims: made.victims.map(named),
    nodes: made.nodes.map((node) => ({ ...node, holders: node.holders.map(named) })),
  }
}

type Live = Pick<Node, 'usage'>

/** A node, whose GPUs are held by tasks that not everybody may know of. */
export function nodeSeenBy(actor: Actor, state: Pick<State, 'tasks' | 'experiments'>, node: Node): Node {
  const called = tasksFor(actor, state)
  const gpus_held = node.gpus_held.map(({ uuid, task }) => ({ uuid, task: called(task) }))
  return { ...liveSeenBy(actor, state, node), gpus_held }
}

/** Live figures tell which task a process on a GPU belongs to. */
export function liveSeenBy<T extends Live>(
  actor: Actor,
  state: Pick<State, 'tasks' | 'experiments'>,
  live: T,
): T {
  if (!live.usage?.gpus.some(({ processes }) => processes?.length)) return live
  const called = tasksFor(actor, state)
  const gpus = live.usage.gpus.map(({ processes, ...gpu }) => ({
    ...gpu,
    ...(processes ? { processes: processes.map((one) => (one.task ? { ...one, task: called(one.task) } : one)) } : {}),
  })) // prettier-ignore
  return { ...live, usage: { ...live.usage, gpus } }
}

function tasksFor(actor: Actor, { tasks, experiments }: Pick<State, 'tasks' | 'experiments'>) {
  return (task: string): string => {
    const row = experiments.get(tasks.get(task)?.workload ?? '')
    if (row && mayRead(actor, row)) return task
    return row ? `work of ${row.owner}` : 'work of others'
  }
}
