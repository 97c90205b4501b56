import { lstat, realpath } from 'node:fs/promises'
import type { ContainerAsks } from '../../../contract/index.ts'
import { absent } from '../files.ts'
import { StartFailure } from '../runtime.ts'

/**
 * What was granted is what it is called, on this host: a link in the place of a folder would show the container whatever
 * it points to, and a disk called a device would give it the host. Throws StartFailure.
 */
export async function checkGrants(asks: ContainerAsks): Promise<void> {
  for (const { path } of asks.mounts ?? [])
    if (!(await its(path))?.isDirectory())
      throw refused(`${path} is no folder of this node, or lies behind a link`)
  for (const path of asks.devices ?? [])
    if (!(await its(path))?.isCharacterDevice())
      throw refused(`${path} is no character device of this node, or lies behind a link`)
}

async function its(path: string) {
  if ((await realpath(path).catch(absent)) !== path) return undefined
  return lstat(path).catch(absent)
}

const refused = (what: string) =>
  new StartFailure(
    'grant_missing',
    `It asks for a part of the host that is not there as it was allowed: ${what}. An admin can correct the policy or the node.`,
  )
