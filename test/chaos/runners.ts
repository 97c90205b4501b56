import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { identify, isAlive, type ProcessId } from '../../agent/node/process/proc.ts'
import { eventually } from '../cluster/lab.ts'
import type { Fleet } from './fleet.ts'

interface Run {
  readonly id: string
  /** Where its program writes. */
  readonly file: string
  readonly process: ProcessId
}

/** One experiment on every node that runs until the end. Its program writes down each time it is started. */
export class Runners {
  readonly #runs: readonly Run[]

  private constructor(runs: readonly Run[]) {
    this.#runs = runs
  }

  static async start(fleet: Fleet): Promise<Runners> {
    const folder = join(fleet.folder, 'starts')
    await mkdir(folder)
    const client = fleet.client(await fleet.leader())
    const runs: Run[] = []
    for (const agent of fleet.agents) {
      const file = join(folder, agent.name)
      const script = `echo "$$" >> ${file}; while :; do sleep 1; done`
      const body = {
        name: `runs-${agent.name}`,
        command: ['sh', '-c', script],
        resources: 'cpu=1, memory=16Mi',
      }
      const { id } = await client.call('experiments.create', { body })
      const isRunning = async () =>
        (await client.call('experiments.get', { params: { experiment: id } })).state === 'Running' &&
        (await startsIn(file)).length > 0
      await eventually(`${body.name} runs`, isRunning)
      const process = identify((await startsIn(file))[0] ?? 0)
      if (!process) throw new Error(`${body.name} is not there any more`)
      runs.push({ id, file, process })
    }
    return new Runners(runs)
  }

  /** What is wrong: one that ended, was started twice, or is not known to run. */
  async faults(fleet: Fleet): Promise<string[]> {
    const client = fleet.client(await fleet.leader())
    const wrong: string[] = []
    for (const { id, file, process } of this.#runs) {
      const starts = await startsIn(file)
      if (starts.length !== 1) wrong.push(`${id} was started ${starts.length} times`)
      if (!isAlive(process)) wrong.push(`the process of ${id} is gone`)
      const { state, tasks } = await client.call('experiments.get', { params: { experiment: id } })
      const attempt = tasks[0]?.attempt
      if (state !== 'Running' || attempt !== 1) wrong.push(`${id} is ${state} at attempt ${attempt}`)
    }
    return wrong
  }
}

const startsIn = async (file: string): Promise<number[]> =>
  (await readFile(file, 'utf8').catch(() => '')).split('\n').filter(Boolean).map(Number)
