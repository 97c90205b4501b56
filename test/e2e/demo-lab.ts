import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExperimentInput } from '../../contract/index.ts'
import { demoSpec } from '../../resources/demo/experiment.ts'
import { Lab, type LabOptions } from '../cluster/lab.ts'

export interface DemoLab {
  readonly lab: Lab
  readonly spec: ExperimentInput
  /** What an agent needs in its environment to go on offering the demo after a restart. */
  readonly env: NodeJS.ProcessEnv
}

/** A lab whose console offers the penguin experiment, slowed so that there is time to watch it. */
export async function startDemoLab(options: LabOptions = {}, secondsPerEpoch = '0.4'): Promise<DemoLab> {
  const folder = await mkdtemp(join(tmpdir(), 'submarine-lab-'))
  const demoFile = join(folder, 'demo.json')
  const lab = await Lab.start({ ...options, folder, demoFile })
  const demo = await demoSpec(lab.client(), undefined)
  const spec = { ...demo, env: { EPOCH_SECONDS: secondsPerEpoch } }
  await writeFile(demoFile, JSON.stringify({ spec }))
  return { lab, spec, env: { SUBMARINE_DEMO_FILE: demoFile } }
}
