import { type Command, InvalidArgumentError, Option } from 'commander'
import { priorityClasses } from '../../contract/scheduling.ts'
import type { ExperimentInput } from '../../contract/spec.ts'
import { repeated } from './options.ts'

/** What `run` and `submit` say to the scheduler. */
export interface SchedulingOptions {
  queue?: string
  team?: string
  priority?: (typeof priorityClasses)[number]
  preemptible?: boolean
  grace?: string
  retries?: number
  array?: string
  constraint?: string[]
  prefer?: string[]
  spread?: boolean
  even?: boolean
  lossPolicy?: string
  idleStop?: string
}

const retriesOption = (text: string): number => {
  if (/^\d{1,3}$/.test(text) && Number(text) <= 100) return Number(text)
  throw new InvalidArgumentError('expected a whole number of retries from 0 to 100.')
}

export function schedulingOptions(command: Command): Command {
  return command
    .option('--queue <name>', 'the queue it waits in (default: default)')
    .option('--team <name>', 'the team whose share and quota it counts to')
    .addOption(
      new Option('--priority <class>', 'its class; absent: that of the queue').choices(priorityClasses),
    )
    .option('--preemptible', 'work of a higher class may take its place; it starts again later')
    .option('--no-preemptible', 'keep its place, even in class low')
    .option('--grace <duration>', 'from SIGTERM to SIGKILL, such as "2 mins" (default: 10 s)')
    .option('--retries <n>', 'try again so often when it fails', retriesOption)
    .option('--array <indices>', 'one task for each index, so many at once: 1-100%4')
    .option(
      '--constraint <text>',
      'what its nodes must be: "gpu.model = A100", "label.zone in (a, b)"',
      repeated,
    )
    .option('--prefer <text>', 'what its nodes should rather be: "label.zone = a weight 20"', repeated)
    .option('--spread', 'over many nodes instead of few')
    .option('--even', 'as many tasks of a role on each node that has any')
    .option('--loss-policy <policy>', 'when its node falls silent: hold, "lease 10 min" or replace-now')
    .option('--idle-stop <duration>', 'stop it when its GPUs idle for so long, such as 1h')
}

/** The fields of the spec that were given. */
export function schedulingOf(options: SchedulingOptions): Partial<ExperimentInput> {
  const { queue, team, priority, preemptible, grace, retries, array, constraint, prefer, even } = options
  const fields = {
    queue,
    team,
    priority,
    preemptible,
    grace,
    retries,
    array,
    constraints: constraint,
    affinities: prefer,
    placement: options.spread ? ('spread' as const) : undefined,
    even,
    loss_policy: options.lossPolicy,
    idle_stop: options.idleStop,
  }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

/** Fields whose option has another name. */
export const optionNames: Readonly<Record<string, string>> = {
  constraints: 'constraint',
  affinities: 'prefer',
  placement: 'spread',
  loss_policy: 'loss-policy',
  idle_stop: 'idle-stop',
  tags: 'tag',
  environment: 'image',
}
