import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { create } from 'tar'
import { type Client, type Experiment, type ExperimentInput, isFinal } from '../../contract/index.ts'
import type { Engine } from './engine.ts'

const folder = path.dirname(fileURLToPath(import.meta.url))

/** The penguin experiment for this cluster: its code uploaded, its command for the language at hand. */
export async function demoSpec(client: Client, engine: Engine | undefined): Promise<ExperimentInput> {
  const language = engine?.language ?? (hasPython() ? 'python' : 'node')
  const script = language === 'python' ? 'train.py' : 'train.mjs'
  const archive = create({ cwd: folder, gzip: true, portable: true, sync: true }, [
    script,
    'penguins.csv',
  ]).read()
  if (!archive) throw new Error('the demo code could not be packed')
  const response = await client.raw('blobs.create', {}, new Uint8Array(archive))
  const { sha256 } = (await response.json()) as { sha256: string }
  return {
    name: 'penguins',
    tags: ['demo'],
    code: { upload: sha256 },
    command: language === 'python' ? `python3 ${script}` : `${engine ? 'node' : process.execPath} ${script}`,
    resources: 'cpu=0.5, memory=256Mi',
    timeout: '10 mins',
  }
}

function hasPython(): boolean {
  try {
    execFileSync('python3', ['-c', 'import csv, json, random'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Print the log until the experiment has ended. */
export async function follow(
  client: Client,
  experiment: string,
  signal: AbortSignal,
  print: (line: string) => void,
): Promise<void> {
  const params = { experiment }
  try {
    for await (const { data } of client.events('experiments.logs', {
      params,
      query: { follow: '1' },
      signal,
    }))
      print(data.text)
  } catch (error) {
    if (!signal.aborted) throw error
  }
  while (!signal.aborted && !isFinal((await client.call('experiments.get', { params })).state))
    await new Promise((resolve) => setTimeout(resolve, 100))
}

export interface Outcome {
  readonly experiment: string
  readonly state: Experiment['state']
  readonly node: string | null
  readonly runtime: 'docker' | 'process' | null
  readonly accuracy: number | null
  readonly artifacts: readonly string[]
  readonly seconds: number
  readonly reason?: string
}

/** What became of it, read back through the API. */
export async function outcomeOf(client: Client, id: string, milliseconds: number): Promise<Outcome> {
  const params = { experiment: id }
  const experiment = await client.call('experiments.get', { params })
  const { series } = await client.call('experiments.metrics', { params, query: { key: 'accuracy' } })
  const { items } = await client.call('experiments.artifacts', { params })
  const nodes = await client.call('nodes.list', {})
  const task = experiment.tasks[0]
  const last = series[0]?.points.at(-1)?.[1]
  return {
    experiment: id,
    state: experiment.state,
    node: nodes.items.find((node) => node.id === task?.node)?.name ?? null,
    runtime: task?.runtime ?? null,
    accuracy: typeof last === 'number' ? last : null,
    artifacts: items.map(({ path }) => path),
    seconds: Math.round(milliseconds / 100) / 10,
    ...(experiment.reason ? { reason: experiment.reason.message } : {}),
  }
}
