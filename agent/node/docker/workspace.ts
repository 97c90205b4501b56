import { chmod, lchown, opendir } from 'node:fs/promises'
import path from 'node:path'

/**
 * The folder and all that is in it become the person's, and nobody else's. Links are changed themselves, never what they
 * point to.
 */
export async function giveTo(folder: string, uid: number): Promise<void> {
  await giveBelow(folder, uid)
  await lchown(folder, uid, uid)
  await chmod(folder, 0o700)
}

async function giveBelow(folder: string, uid: number): Promise<void> {
  for await (const entry of await opendir(folder)) {
    const at = path.join(folder, entry.name)
    if (entry.isDirectory()) await giveBelow(at, uid)
    await lchown(at, uid, uid)
  }
}
