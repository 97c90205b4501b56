import type { Experiment, LogLine } from '../../contract/objects.ts'
import { readLogs, type LogQuery } from '../connection/logs.ts'
import { type Connection, learnMembers } from '../connection/open.ts'
import { waitUntilFinal } from '../connection/watch.ts'
import { Exit, exitCode } from '../failure.ts'
import { runtimeOf, taskName } from '../output/describe.ts'
import { type Format, printItem } from '../output/print.ts'
import { plain } from '../output/table.ts'
import type { Terminal } from '../terminal.ts'

/** Print log lines: those of stderr to stderr, each with its task where there are several. */
export async function printLogs(
  terminal: Terminal,
  { client }: Connection,
  experiment: Experiment,
  query: LogQuery,
  format: Format = 'table',
  signal?: AbortSignal,
): Promise<void> {
  const names = new Map(experiment.tasks.map((t) => [t.id, taskName(t)]))
  const prefix = (line: LogLine) =>
    names.size > 1 && query.task === undefined
      ? terminal.paint('dim', `[${names.get(line.task) ?? line.task}] `)
      : ''
  for await (const line of readLogs(client, experiment, query, signal))
    if (format === 'table')
      terminal[line.stream === 'stderr' ? 'err' : 'out'](`${prefix(line)}${line.text}\n`)
    else printItem(terminal, format, line, () => '')
}

/** Follow an experiment to its end on the terminal: its states on stderr, its log where it belongs. */
export async function followToEnd(
  terminal: Terminal,
  connection: Connection,
  experiment: Experiment,
  showLog: boolean,
  limitSeconds?: number,
): Promise<Experiment> {
  await learnMembers(connection)
  const goesOn = `Following stopped; the experiment goes on. To stop it: submarine experiment stop ${experiment.id}`
  const follow = async (signal: AbortSignal) => {
    const say = (e: Experiment) => terminal.err(terminal.paint('dim', stateLine(e)) + '\n')
    const [final] = await Promise.all([
      waitUntilFinal(connection.client, experiment.id, say, signal),
      showLog ? printLogs(terminal, connection, experiment, { follow: true }, 'table', signal) : undefined,
    ])
    return final
  }
  return orInterrupt(follow, goesOn, limitSeconds)
}

function stateLine(e: Experiment): string {
  const where = e.tasks.flatMap((t) => (t.node ? [`${t.node_name}, ${runtimeOf(t)}`] : []))
  const place = where.length ? ` on ${[...new Set(where)].join('; ')}` : ''
  return plain(`${e.id}: ${e.state}${place}${e.reason ? `: ${e.reason.message}` : ''}`)
}

/** Beyond this Node's timers fire at once. */
const longestTimer = 2 ** 31 - 1

/** Ctrl-C, or the end of the time given, ends the watching, not what is watched. */
export async function orInterrupt<T>(
  job: (signal: AbortSignal) => Promise<T>,
  message: string,
  limitSeconds?: number,
): Promise<T> {
  const controller = new AbortController()
  let code: number | undefined
  const stop = (why: number) => {
    code ??= why
    controller.abort()
  }
  const interrupt = () => stop(exitCode.interrupted)
  process.once('SIGINT', interrupt)
  const timer =
    limitSeconds && setTimeout(() => stop(exitCode.waitTimeout), Math.min(limitSeconds * 1000, longestTimer))
  try {
    return await job(controller.signal)
  } catch (error) {
    if (code !== undefined) throw new Exit(code, message)
    // Whatever else still follows must not keep the process alive.
    controller.abort()
    throw error
  } finally {
    clearTimeout(timer)
    process.off('SIGINT', interrupt)
  }
}

/** The code `run` and `--wait` end with: the failed task's own where there is one. */
export function exitOf(experiment: Experiment): number {
  if (experiment.state === 'Succeeded') return exitCode.ok
  const failed = experiment.tasks.find((t) => t.state === 'Failed' && t.exit_code)
  const code = failed?.exit_code ?? exitCode.failure
  return code > 0 && code < 256 ? code : exitCode.failure
}
