import { ProblemError } from '../../../contract/index.ts'

/** Refuses a change of something that is no longer as the caller saw it. */
export function checkVersion(what: string, version: number, expected: number | undefined): void {
  if (expected !== undefined && expected !== version)
    throw new ProblemError('precondition_failed', `${what} is at version ${version}`)
}
