import type { Command } from 'commander'
import type { Artifact, Experiment, MetricSeries } from '../../contract/objects.ts'
import { formatBytes } from '../../contract/resources.ts'
import { downloadArtifact, openTarget } from '../connection/download.ts'
import { type Connection, learnMembers } from '../connection/open.ts'
import { taskName } from '../output/describe.ts'
import { print } from '../output/print.ts'
import { plain, table } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { orInterrupt } from './follow.ts'
import { collect } from './pages.ts'
import { findExperiment, findTask } from './resolve.ts'

/** What experiments leave behind: metrics and artifacts. */
export function experimentDataVerbs(experiment: Command, tool: Tool): void {
  metricsVerb(experiment, tool)
  artifactsVerb(experiment, tool)
}

function metricsVerb(experiment: Command, tool: Tool): void {
  verb(experiment, 'metrics <id>', 'metric series')
    .option('--key <key>', 'only this metric')
    .action((id: string, options: CommonOptions & { key?: string }) =>
      connected(tool, options, async ({ client }) => {
        const found = await findExperiment(client, id)
        const query = options.key === undefined ? {} : { key: options.key }
        const answer = await client.call('experiments.metrics', { params: { experiment: found.id }, query })
        print(tool.terminal, options.output, answer, () => metricTable(found, answer.series))
      }),
    )
}

function metricTable(experiment: Experiment, series: readonly MetricSeries[]): string {
  const names = new Map(experiment.tasks.map((t) => [t.id, taskName(t)]))
  const extreme = (s: MetricSeries, pick: (...values: number[]) => number) => {
    const values = s.points.map(([, value]) => value).filter((value) => typeof value === 'number')
    return values.length ? String(values.reduce((a, b) => pick(a, b))) : '-'
  }
  return table<MetricSeries>(
    [
      { title: 'KEY', cell: (s) => plain(s.key) },
      { title: 'TASK', cell: (s) => names.get(s.task) ?? plain(s.task) },
      { title: 'POINTS', cell: (s) => String(s.points.length) },
      { title: 'STEP', cell: (s) => String(s.points.at(-1)?.[0] ?? '-') },
      { title: 'LAST', cell: (s) => String(s.points.at(-1)?.[1] ?? '-') },
      { title: 'MIN', cell: (s) => extreme(s, Math.min) },
      { title: 'MAX', cell: (s) => extreme(s, Math.max) },
    ],
    series,
  )
}

interface ArtifactOptions extends CommonOptions {
  download?: string
  task?: string
}

function artifactsVerb(experiment: Command, tool: Tool): void {
  verb(experiment, 'artifacts <id>', 'files its tasks left in /output')
    .option('--download <folder>', 'save them there; goes on where a broken download stopped')
    .option('--task <task>', 'only of this task, such as worker-0')
    .action((id: string, options: ArtifactOptions) =>
      connected(tool, options, async (connection) => {
        const { client } = connection
        const found = await findExperiment(client, id)
        const task = options.task === undefined ? {} : { task: findTask(found, options.task).id }
        const page = await collect((query) =>
          client.call('experiments.artifacts', {
            params: { experiment: found.id },
            query: { ...query, ...task },
          }),
        )
        if (options.download === undefined)
          return print(tool.terminal, options.output, page, () => artifactTable(found, page.items))
        await downloadAll(tool, connection, found, page.items, options.download)
        print(tool.terminal, options.output, page, () => '')
      }),
    )
}

function artifactTable(experiment: Experiment, artifacts: readonly Artifact[]): string {
  const names = new Map(experiment.tasks.map((t) => [t.id, taskName(t)]))
  return table<Artifact>(
    [
      { title: 'TASK', cell: (a) => names.get(a.task) ?? plain(a.task) },
      { title: 'PATH', cell: (a) => plain(a.path) },
      { title: 'SIZE', cell: (a) => formatBytes(a.bytes) },
      { title: 'COPIES', cell: (a) => String(a.copies) },
      { title: 'SHA256', cell: (a) => a.sha256 },
    ],
    artifacts,
  )
}

/** One task's files lie in the folder itself; those of several in a folder per task. */
async function downloadAll(
  { terminal }: Tool,
  connection: Connection,
  experiment: Experiment,
  artifacts: readonly Artifact[],
  folder: string,
): Promise<void> {
  await learnMembers(connection)
  const names = new Map(experiment.tasks.map((t) => [t.id, taskName(t)]))
  const several = new Set(artifacts.map((a) => a.task)).size > 1
  await orInterrupt(async (signal) => {
    for (const artifact of artifacts) {
      const name = several ? `${names.get(artifact.task) ?? artifact.task}/${artifact.path}` : artifact.path
      const target = await openTarget(folder, name)
      const outcome = await downloadArtifact(connection.client, experiment.id, artifact, target, signal)
      terminal.err(`${outcome}  ${plain(name)}  ${formatBytes(artifact.bytes)}\n`)
    }
  }, 'Download stopped; the same command goes on where it stopped.')
}
