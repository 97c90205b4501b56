import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** A new folder on the file system that is measured: BENCH_DIR, or the system's temporary one. */
export async function scratchFolder(): Promise<{ dir: string; remove(): Promise<void> }> {
  const dir = await mkdtemp(path.join(process.env['BENCH_DIR'] ?? tmpdir(), 'bench-'))
  return { dir, remove: () => rm(dir, { recursive: true, force: true, maxRetries: 10 }) }
}
