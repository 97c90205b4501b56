import { type Command, Option } from 'commander'
import { ProblemError } from '../../contract/problem.ts'
import { isFinal, type State, states } from '../../contract/states.ts'
import { type Connection, learnMembers } from '../connection/open.ts'
import { Exit, UsageError } from '../failure.ts'
import { explanationText } from '../output/explain.ts'
import { eventLine, experimentDetails, experimentTable } from '../output/describe.ts'
import { print } from '../output/print.ts'
import { plain } from '../output/table.ts'
import { readSpecFile } from '../spec/read.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { experimentDataVerbs } from './experiment-data.ts'
import { exitOf, followToEnd, orInterrupt, printLogs } from './follow.ts'
import { durationOption, sinceOption, tagOption, wholeOption } from './options.ts'
import { collect } from './pages.ts'
import { findExperiment, findTask } from './resolve.ts'
import { shareVerb } from './share.ts'

export function experimentVerbs(program: Command, tool: Tool): void {
  const experiment = program.command('experiment').description('experiments: submit, look, follow, stop')
  submitVerb(experiment, tool)
  listVerbs(experiment, tool)
  logsVerb(experiment, tool)
  editVerb(experiment, tool)
  shareVerb(experiment, tool)
  stopVerbs(experiment, tool)
  experimentDataVerbs(experiment, tool)
}

interface SubmitOptions extends CommonOptions {
  file: string
  wait?: boolean
  waitTimeout?: number
  dryRun?: boolean
}

function submitVerb(experiment: Command, tool: Tool): void {
  const { terminal } = tool
  verb(experiment, 'submit', 'submit an experiment from a spec file')
    .requiredOption('-f, --file <file>', 'YAML or JSON file; - reads stdin')
    .option('--wait', 'follow it to its end and exit with its code')
    .option('--wait-timeout <duration>', 'wait no longer than this; then exit with 124', durationOption)
    .option('--dry-run', 'check it against the cluster without running it')
    .action(async (options: SubmitOptions) => {
      const wait = (options.wait || options.waitTimeout !== undefined) && !options.dryRun
      const spec = await readSpecFile(terminal, options.file)
      await connected(tool, options, async (connection) => {
        const query = options.dryRun ? { dry_run: '1' as const } : {}
        const created = await connection.client
          .call('experiments.create', { query, body: spec.input })
          .catch((error: unknown) => {
            if (error instanceof ProblemError && error.errors?.length) throw spec.explain(error.errors)
            throw error
          })
        const show = (e: typeof created) =>
          print(terminal, options.output, e, () =>
            options.dryRun
              ? `valid: ${e.name}\n${e.plan ? explanationText(terminal, e.plan, e.tasks.length) : ''}`
              : wait
                ? experimentDetails(terminal, e)
                : `${e.id}\n`,
          )
        if (!wait) return show(created)
        const final = await followToEnd(terminal, connection, created, false, options.waitTimeout)
        show(final)
        const code = exitOf(final)
        if (code !== 0) throw new Exit(code)
      })
    })
}

function listVerbs(experiment: Command, tool: Tool): void {
  const { terminal } = tool
  interface ListOptions extends CommonOptions {
    state?: State
    owner?: string
    name?: string
    limit: number
  }
  readVerb(experiment, 'list', 'experiments, newest first')
    .addOption(new Option('--state <state>', 'only those in this state').choices(states))
    .option('--owner <user>', 'only those of this user')
    .option('--name <name>', 'only those with this name')
    .option('--limit <n>', 'how many', wholeOption(1, 100_000), 100)
    .action((options: ListOptions) =>
      connected(tool, options, async ({ client }) => {
        const { state, owner, name } = options
        const filter = { ...(state && { state }), ...(owner && { owner }), ...(name && { name }) }
        const page = await collect(
          (query) =>
            client.call('experiments.list', { query: { ...query, ...filter, ...consistencyOf(options) } }),
          options.limit,
        )
        print(terminal, options.output, page, () => experimentTable(terminal, page.items))
        if (page.next_page_token !== null) terminal.err(`more exist: raise --limit\n`)
      }),
    )
  readVerb(experiment, 'get <id>', 'one experiment with its tasks').action(
    (id: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const found = await findExperiment(client, id, consistencyOf(options))
        print(terminal, options.output, found, () => experimentDetails(terminal, found))
      }),
  )
}

function logsVerb(experiment: Command, tool: Tool): void {
  interface LogOptions extends CommonOptions {
    follow?: boolean
    tail?: number
    since?: string
    task?: string
    attempt?: number
    search?: string
  }
  const show = async (connection: Connection, id: string, options: LogOptions) => {
    const found = await findExperiment(connection.client, id)
    const { tail, since, search, attempt } = options
    const task = options.task === undefined ? undefined : findTask(found, options.task).id
    const query = { task, attempt, tail, since, search, follow: options.follow ?? false }
    await learnMembers(connection)
    await orInterrupt(
      (signal) => printLogs(tool.terminal, connection, found, query, options.output, signal),
      '',
    )
  }
  verb(experiment, 'logs <id>', 'log lines of its tasks')
    .option('-f, --follow', 'go on until its tasks end')
    .option('--tail <n>', 'only the last lines of each task', wholeOption(0, 100_000))
    .option('--since <time>', 'only lines since a time, or a span such as "10 mins"', sinceOption)
    .option('--task <task>', 'only this task, such as worker-0')
    .option('--attempt <n>', 'this attempt instead of the newest', wholeOption(1, 1_000_000))
    .option('--search <text>', 'only lines containing this text')
    .action((id: string, options: LogOptions) =>
      connected(tool, options, (connection) => show(connection, id, options)),
    )
}

function editVerb(experiment: Command, tool: Tool): void {
  const { terminal } = tool
  interface EditOptions extends CommonOptions {
    description?: string
    tag?: [string, string | null][]
  }
  verb(experiment, 'edit <id>', 'change its description and tags')
    .option('--description <text>', 'the new description; "" takes it away')
    .option('--tag <key=value>', 'set a tag, or take it away with KEY= (repeatable)', tagOption)
    .action((id: string, options: EditOptions) =>
      connected(tool, options, async ({ client }) => {
        const { description, tag } = options
        if (description === undefined && tag === undefined)
          throw new UsageError('nothing to change', 'Give --description or --tag.')
        const found = await findExperiment(client, id)
        const edited = await client.call('experiments.edit', {
          params: { experiment: found.id },
          body: {
            ...(description === undefined ? {} : { description }),
            ...(tag === undefined ? {} : { tags: Object.fromEntries(tag) }),
          },
        })
        print(terminal, options.output, edited, () => `${edited.id} edited\n`)
      }),
    )
}

function stopVerbs(experiment: Command, tool: Tool): void {
  const { terminal } = tool
  verb(experiment, 'stop <id>', 'stop it: SIGTERM, grace, SIGKILL').action(
    (id: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const found = await findExperiment(client, id)
        const stopped = await client.call('experiments.stop', { params: { experiment: found.id } })
        print(terminal, options.output, stopped, () => `${stopped.id} ${stopped.state}, stop requested\n`)
      }),
  )
  verb(experiment, 'delete <id>', 'delete a finished experiment with its logs, metrics and artifacts').action(
    (id: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const found = await findExperiment(client, id)
        await client.call('experiments.delete', { params: { experiment: found.id } })
        print(
          terminal,
          options.output,
          { id: found.id, deleted: true },
          () => plain(`${found.id} deleted`) + '\n',
        )
      }),
  )
  readVerb(experiment, 'why <id>', 'why it waits, when it will start and what would help').action(
    (id: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const query = consistencyOf(options)
        const found = await findExperiment(client, id, query)
        const why = await client.call('experiments.explanation', { params: { experiment: found.id }, query })
        const going = found.tasks.filter(({ state }) => !isFinal(state)).length
        print(terminal, options.output, why, () => explanationText(terminal, why, going))
      }),
  )
  readVerb(experiment, 'events <id>', 'what happened to it and its tasks, oldest first').action(
    (id: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const params = { experiment: (await findExperiment(client, id, consistencyOf(options))).id }
        const page = await collect((query) =>
          client.call('experiments.events', { params, query: { ...query, ...consistencyOf(options) } }),
        )
        print(terminal, options.output, page, () => page.items.map(eventLine).join(''))
      }),
  )
}
