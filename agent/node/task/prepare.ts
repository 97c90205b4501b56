import { setTimeout as delay } from 'node:timers/promises'
import { ProblemError } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { ExperimentRow } from '../../cluster/state.ts'
import type { Blobs } from '../../store/store.ts'
import { StartFailure } from '../runtime.ts'
import { BadArchive, unpack } from './unpack.ts'

export interface CodeSource {
  readonly cluster: Pick<Cluster, 'state'>
  readonly blobs: Pick<Blobs, 'open'>
  /** How long a holder of the code may be unreachable, ms. */
  readonly patienceMs?: number
  readonly retryMs?: number
}

/** Bring the experiment's code into the folder. Throws StartFailure when it cannot be had. */
export async function fetchCode(
  experiment: ExperimentRow,
  folder: string,
  { cluster, blobs, patienceMs = 120_000, retryMs = 2000 }: CodeSource,
  signal: AbortSignal,
): Promise<void> {
  const sha256 = experiment.spec.code?.upload
  if (sha256 === undefined) return
  for (const deadline = Date.now() + patienceMs; ;) {
    signal.throwIfAborted()
    try {
      const { body } = await blobs.open(sha256, cluster.state().blobs.get(sha256)?.holders ?? [])
      const read = await unpack(body, folder)
      if (read === sha256) return
      throw new Error('what arrived is not what was uploaded')
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof BadArchive)
        throw new StartFailure(
          'code_invalid',
          `The uploaded code cannot be unpacked: ${error.message}. Upload it again as a plain or gzip tar file.`,
          error,
        )
      if ((error instanceof ProblemError && error.code === 'not_found') || Date.now() > deadline)
        throw new StartFailure(
          'code_missing',
          `The uploaded code could not be fetched: ${(error as Error).message}. Submit the experiment again when the nodes that hold it are back.`,
          error,
        )
    }
    await delay(retryMs, undefined, { signal })
  }
}
