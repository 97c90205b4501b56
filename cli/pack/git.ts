import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const exec = promisify(execFile)

export interface GitState {
  commit: string
  branch?: string
  dirty: boolean
}

/** The commit a folder stands at; undefined outside a repository, before its first commit, or without git. */
export async function readGitState(folder: string): Promise<GitState | undefined> {
  const git = async (...args: string[]) =>
    (await exec('git', args, { cwd: folder, timeout: 10_000, maxBuffer: 64 * 1024 ** 2 })).stdout.trim()
  try {
    const commit = await git('rev-parse', 'HEAD')
    const branch = await git('rev-parse', '--abbrev-ref', 'HEAD')
    const dirty = (await git('status', '--porcelain', '--', '.')) !== ''
    return { commit, ...(branch && branch !== 'HEAD' ? { branch } : {}), dirty }
  } catch {
    return undefined
  }
}
