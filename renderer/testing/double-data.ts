/** What the agent double knows at its start. Invented. */
import { createHash } from 'node:crypto'
import type { Image } from '../../contract/images.ts'
import type { Experiment, MetricSeries } from '../../contract/objects.ts'
import type { Gpu, Node, Usage } from '../../contract/nodes.ts'
import { parseSpec } from '../../contract/spec.ts'
import { isFinal, type State } from '../../contract/states.ts'

const GiB = 1024 ** 3
const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()

export const demoSpec = {
  name: 'demo-digits',
  command: 'python3 train.py --epochs 40',
  resources: { cpu: 1, memory: '512Mi' },
  tags: ['demo'],
  code: { upload: 'a'.repeat(64) },
}

const cards = (count: number, node: number): Gpu[] =>
  Array.from({ length: count }, (_, index) => ({
    uuid: `GPU-${node}-${index}`,
    index,
    vendor: 'nvidia',
    model: 'NVIDIA RTX A6000',
    memory: 48 * GiB,
    driver: '550.90',
    cuda: '12.4',
  }))

export const gpu = {
  usage: (card: Gpu, node: Node, sway: number): Usage['gpus'][number] => {
    const held = node.gpus_held.some(({ uuid }) => uuid === card.uuid)
    return {
      uuid: card.uuid,
      utilization_percent: held ? 62 + 34 * sway : card.index === 3 ? 37 : 0,
      memory_used: Math.round(held ? card.memory * 0.71 : card.index === 3 ? card.memory * 0.3 : 0.4 * GiB),
      temperature_c: held ? 68 : 39,
      power_w: held ? 262 : 24,
    }
  },
}

export function nodeOf(at: number, name: string): Node {
  const gpus = cards([4, 2, 0][at] ?? 0, at)
  const memory = ([256, 128, 64][at] ?? 64) * GiB
  const cores = [64, 32, 16][at] ?? 16
  const held = gpus.slice(0, at === 0 ? 2 : 1).map(({ uuid }) => ({ uuid, task: 'exp-live-worker-0' }))
  return {
    id: `node-${at + 1}`,
    name,
    member: at + 1,
    address: `10.0.0.${at + 5}:7460`,
    role: 'voter',
    liveness: 'ready',
    silent_ms: 300,
    unreachable_since: null,
    joined_at: ago(60 * 24 * 9),
    inventory: {
      hostname: `${name}.lab`,
      os: 'Debian GNU/Linux 13 (trixie)',
      kernel: '6.12.41',
      arch: 'x64',
      cpu: { model: 'AMD EPYC 7543P', cores },
      memory,
      disk: { path: '/var/lib/submarine', total: 1800 * GiB, free: 940 * GiB },
      gpus,
      docker: at === 2 ? null : { version: '28.3.2', api: '1.51', storage_driver: 'overlay2', cgroup: 'v2', runtimes: ['runc', 'nvidia'] },
      runtimes: at === 2 ? ['process'] : ['docker'],
      default_image: at === 2 ? null : 'python:3.12-slim',
      agent_version: '0.1.0',
      node_version: '24.21.0',
    },
    allocatable: { cpu: cores - 0.5, memory: Math.round(memory * 0.95), gpu: gpus.length, disk: 900 * GiB },
    allocated: { cpu: [24, 8, 2][at] ?? 0, memory: ([96, 32, 4][at] ?? 0) * GiB, gpu: held.length, disk: 0 },
    gpus_held: held,
    tasks: [3, 1, 1][at] ?? 0,
    usage: {
      at: ago(0), cpu_percent: 30, memory_used: memory / 3, memory_total: memory, disk_free: 940 * GiB, disk_total: 1800 * GiB,
      load1: 11.2, disk_low: false, gpus: [],
    },
    resource_version: 1,
  } // prettier-ignore
}

const past: [
  name: string,
  state: State,
  submitted: number,
  minutes: number,
  tags: string[],
  exit?: number,
][] = [
  ['digits-first', 'Succeeded', 2880, 4, ['demo'], 0],
  ['vit-small-lr3e-4', 'Succeeded', 1500, 212, ['vit', 'sweep-a'], 0],
  ['vit-small-lr1e-3', 'Failed', 1490, 31, ['vit', 'sweep-a'], 137],
  ['unet-nuclei', 'Succeeded', 720, 95, ['segmentation'], 0],
  ['clip-probe', 'Stopped', 400, 18, ['clip', 'probe', 'ablation', 'short'], 143],
  ['tokenizer-bench', 'Failed', 150, 1, [], 127],
  ['resnet50-baseline', 'Running', 96, 0, ['resnet', 'imagenet']],
  ['resnet50-mixup', 'Queued', 12, 0, ['resnet', 'imagenet']],
  ['live-run', 'Queued', 0, 0, ['demo']],
]

export function pastExperiments(): Experiment[] {
  return past.map(([name, state, submitted, minutes, tags, exit]) => {
    const id = name === 'live-run' ? 'exp-live' : `exp-${name.length}${submitted.toString(36)}q`
    const parsed = parseSpec({
      name,
      command: 'python3 train.py',
      resources: { cpu: 8, memory: '32Gi', gpu: 1 },
      tags,
      environment: { image: 'pytorch/pytorch:2.6.0' },
      env: { SEED: '7' },
    })
    if ('errors' in parsed) throw new Error(JSON.stringify(parsed.errors))
    const started = state === 'Queued' ? null : ago(submitted - 1)
    const finished = isFinal(state) ? ago(submitted - 1 - minutes) : null
    const process = name === 'unet-nuclei'
    const waiting =
      state === 'Queued'
        ? {
            code: 'no_room',
            message: 'waits for 1 GPU: gpu-01 has 0 of 4 free, gpu-02 has 1 but 2 GiB too little memory',
          }
        : null
    const failed =
      exit === 137
        ? {
            code: 'oom_killed',
            message:
              'It needed more memory than its limit of 32 GiB and was killed. Ask for more memory, or use less (a smaller batch, fewer data loaders).',
          }
        : exit === 127
          ? { code: 'exit_code', message: 'It ended with exit code 127: the command was not found.' }
          : null
    const reason = waiting ?? failed
    return {
      id, name, owner: 'admin', description: '', tags: {}, spec: parsed.spec, state, reason, stop_requested: state === 'Stopped',
      created_at: ago(submitted), started_at: started, finished_at: finished, resource_version: 1,
      tasks: [{
        id: `${id}-worker-0`, workload: id, role: 'worker', index: 0, state, reason, attempt: state === 'Queued' ? 0 : 1,
        node: state === 'Queued' ? null : process ? 'node-3' : 'node-1', node_name: null, node_unreachable_since: null, runtime: state === 'Queued' ? null : process ? 'process' : 'docker',
        isolation: state === 'Queued' ? null : process ? 'none' : 'container', resources: parsed.spec.roles['worker']!.resources, gpus: [],
        exit_code: exit ?? null, started_at: started, finished_at: finished,
        artifacts: state === 'Succeeded' ? { files: 3, bytes: 25_691, copies: 1 } : null, log: null, resource_version: 1,
      }],
    } // prettier-ignore
  })
}

/** Curves that grow while the experiment runs. */
export function metrics(experiment: Experiment): { series: MetricSeries[] } {
  if (!experiment.started_at) return { series: [] }
  const until = experiment.finished_at ? Date.parse(experiment.finished_at) : Date.now()
  const seconds = (until - Date.parse(experiment.started_at)) / 1000
  const steps = Math.max(0, Math.min(400, Math.floor(seconds / (seconds > 200 ? 30 : 0.4))))
  const wobble = (step: number, seed: number) => Math.sin(step * 1.7 + seed) * Math.cos(step * 0.61 + seed)
  const curve = (key: string, of: (step: number) => number): MetricSeries => ({
    key,
    task: experiment.tasks[0]?.id ?? '',
    points: Array.from({ length: steps }, (_, at) => [at + 1, of(at + 1), experiment.started_at!]),
  })
  return {
    series: [
      curve('train/loss', (step) => 2.3 * Math.exp(-step / 22) + 0.08 + 0.03 * wobble(step, 1)),
      curve('val/loss', (step) => 2.3 * Math.exp(-step / 25) + 0.17 + 0.05 * wobble(step, 4)),
      curve('accuracy', (step) => 0.97 - 0.85 * Math.exp(-step / 18) + 0.01 * wobble(step, 2)),
      curve('lr', (step) => 0.1 * 0.5 * (1 + Math.cos((Math.PI * Math.min(step, 60)) / 60))),
    ],
  }
}

/** Three images: everywhere, on its way to the second node, refused by the third. */
export function images(nodes: readonly Node[]): Image[] {
  const on = nodes.map(({ id, name }, at) => ({
    ...{ node: id, name, engine: at === 0, layers: at < 2 },
    pull: at === 1 ? { bytes: (Date.now() / 50) % 9e8, total: 9e8 } : null,
    job:
      at === 2
        ? {
            kind: 'pull' as const,
            reason: { code: 'image_missing', message: 'its registry does not answer' },
          }
        : null,
  }))
  const image = (name: string, more: Partial<Image> = {}): Image => ({
    id: `sha256:${createHash('sha256').update(name).digest('hex')}`,
    names: [name], imported: true, platforms: [{ os: 'linux', architecture: 'amd64' }], bytes: 9e8, layers: 5, copies: 2,
    created_at: null, imported_at: new Date().toISOString(), imported_by: 'user:admin', last_used_at: new Date().toISOString(),
    nodes: on.map((one) => ({ ...one, pull: null, job: null, engine: true })), resource_version: 1, ...more,
  }) // prettier-ignore
  return [
    image('pytorch/pytorch:2.4'),
    image('lab/vision:v3', { nodes: on }),
    image('python:3.12', { imported: false, copies: 0, last_used_at: null }),
  ]
}
