import { chmod, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import type { Terminal } from '../terminal.ts'
import { UsageError } from '../failure.ts'
import { makeFolder } from './folder.ts'

const Context = z.strictObject({
  name: z.string().min(1),
  cluster: z.strictObject({ id: z.string(), name: z.string() }),
  /** Every agent's origin, the one signed in to first. */
  addresses: z.array(z.string()).min(1),
  /** The cluster's CA; absent only where plain HTTP on this machine is all there is. */
  ca: z.string().optional(),
  user: z.string(),
  token: z.string().optional(),
  expires_at: z.string().optional(),
})
export type Context = z.infer<typeof Context>

const Config = z.strictObject({
  version: z.literal(1),
  current: z.string().optional(),
  contexts: z.array(Context),
})
export type Config = z.infer<typeof Config>

export function configPath(env: Terminal['env']): string {
  if (env.SUBMARINE_CONFIG) return env.SUBMARINE_CONFIG
  const base = env.XDG_CONFIG_HOME || path.join(env.HOME || os.homedir(), '.config')
  return path.join(base, 'submarine', 'config.json')
}

export async function loadConfig(terminal: Terminal): Promise<Config> {
  const file = configPath(terminal.env)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { version: 1, contexts: [] }
    throw error
  }
  await keepPrivate(terminal, file)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    json = undefined
  }
  const parsed = Config.safeParse(json)
  if (parsed.success) return parsed.data
  throw new UsageError(`${file} is not readable as a configuration`, 'Move it away and sign in again.')
}

/** It holds tokens: whatever made it readable for others is undone, and said. */
async function keepPrivate(terminal: Terminal, file: string): Promise<void> {
  if (process.platform === 'win32' || ((await stat(file)).mode & 0o077) === 0) return
  await chmod(file, 0o600)
  terminal.err(`warning: ${file} was readable by others; its mode is 0600 again. Consider signing in anew.\n`)
}

/** Written beside and renamed: a crash leaves the old file or the new one, never half of one. */
export async function saveConfig(terminal: Terminal, config: Config): Promise<void> {
  const file = configPath(terminal.env)
  await makeFolder(path.dirname(file), 0o700)
  const beside = `${file}.${randomBytes(6).toString('hex')}`
  try {
    await writeFile(beside, JSON.stringify(config, null, 2) + '\n', { mode: 0o600, flag: 'wx' })
    await rename(beside, file)
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
}

export function findContext(config: Config, name: string): Context {
  const found = config.contexts.find((c) => c.name === name)
  if (found) return found
  const known = config.contexts.map((c) => c.name).join(', ')
  throw new UsageError(
    `no context is named ${JSON.stringify(name)}`,
    known ? `Known: ${known}.` : 'Run `submarine login ADDRESS` first.',
  )
}

/** The configuration with this context in it, in place of one of the same name, and current. */
export function withContext(config: Config, context: Context): Config {
  const others = config.contexts.filter((c) => c.name !== context.name)
  return { version: 1, current: context.name, contexts: [...others, context] }
}
