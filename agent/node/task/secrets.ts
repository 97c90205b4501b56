import { chmod, mkdir, rm, statfs, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileOfSecret } from '../../../contract/index.ts'
import { type Launch, StartFailure } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'
import { openedSecret } from './opened.ts'
import { giveTicket } from './ticket.ts'

/** What statfs(2) says of tmpfs. */
const tmpfs = 0x01021994

/**
 * The secrets of an attempt, opened: files and a ticket in a folder in memory, and variables. Throws StartFailure when it may not have
 * them; anything else when they cannot be had just now.
 */
export async function secretsOf(attempt: Attempt, context: RunnerContext): Promise<Launch['secrets']> {
  const { task, experiment } = attempt
  const { folders, secretFor } = context
  const uses = experiment.spec.secrets
  if (!uses?.length || !secretFor) return undefined
  const { secrets: folder } = folders.of(task.id, task.attempt)
  await makeFolder(folder)
  const env: Record<string, string> = {}
  for (const { name, env: variable, file = fileOfSecret(name), ticket } of uses) {
    if (ticket) {
      await giveTicket(attempt, context, name)
      continue
    }
    const value = await openedSecret(attempt, context, name)
    if (variable !== undefined) env[variable] = textOf(value, name)
    else await writeSecret(path.join(folder, file), value)
  }
  return { env, folder, ...(uses.some(({ ticket }) => ticket) ? { ticket: true } : {}) }
}

/** Nobody but the agent passes above it, so what lies in it may be open to whatever user a container runs as. */
async function makeFolder(folder: string): Promise<void> {
  const above = path.dirname(folder)
  await mkdir(above, { recursive: true, mode: 0o700 })
  await chmod(above, 0o700)
  if ((await statfs(above)).type !== tmpfs)
    throw new StartFailure('secret_refused', `${path.dirname(above)} of this node is not in memory (tmpfs), so no secret is put there.`) // prettier-ignore
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder)
  await chmod(folder, 0o755)
}

async function writeSecret(file: string, value: Buffer): Promise<void> {
  await writeFile(file, value, { flag: 'wx', mode: 0o400 })
  await chmod(file, 0o444)
}

function textOf(value: Buffer, name: string): string {
  const text = value.toString('utf8')
  if (text.includes('\0') || !Buffer.from(text).equals(value))
    throw new StartFailure('secret_refused', `The secret ${name} is no text, which a variable has to be; give it as a file.`) // prettier-ignore
  return text
}
