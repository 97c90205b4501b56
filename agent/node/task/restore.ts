import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { ArtifactPath, Sha256 } from '../../../contract/index.ts'
import type { Kept, TaskRow } from '../../cluster/state.ts'
import { StartFailure } from '../runtime.ts'
import type { CodeSource } from './prepare.ts'

const Line = z.object({ path: ArtifactPath, sha256: Sha256 })

/** A next attempt finds in /output what the one before left there: its checkpoints. Throws StartFailure when it cannot be had. */
export async function restoreOutput(
  task: TaskRow,
  folder: string,
  { blobs, patienceMs = 120_000, retryMs = 2000 }: Omit<CodeSource, 'cluster'>,
  signal: AbortSignal,
): Promise<void> {
  const before = task.past?.at(-1)
  const kept = before?.artifacts
  if (!before || !kept?.files) return
  for (const deadline = Date.now() + patienceMs; ;) {
    try {
      return await fetchAll(kept, folder, blobs, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (Date.now() > deadline)
        throw new StartFailure(
          'output_missing',
          `What attempt ${before.attempt} left could not be fetched: ${(error as Error).message}. Try again when the nodes that hold it are back.`,
          error,
        )
    }
    await delay(retryMs, undefined, { signal })
  }
}

async function fetchAll(
  { sha256, holders }: Kept,
  folder: string,
  blobs: CodeSource['blobs'],
  signal: AbortSignal,
): Promise<void> {
  const { body } = await blobs.open(sha256, holders)
  for await (const text of createInterface({ input: body, crlfDelay: Infinity })) {
    signal.throwIfAborted()
    const line = Line.parse(JSON.parse(text))
    const file = path.join(folder, line.path)
    await mkdir(path.dirname(file), { recursive: true })
    const { body: content } = await blobs.open(line.sha256, holders)
    await pipeline(content, createWriteStream(file), { signal })
  }
}
