import { AsyncLocalStorage } from 'node:async_hooks'
import { z } from 'zod'
import type { Actor } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'

/** Where a command came from: kept in its entry for the audit log, and of no other use. */
export const Origin = z.object({
  address: z.string().max(100).optional(),
  request: z.string().max(100).optional(),
})
export type Origin = z.infer<typeof Origin>

/**
 * A request's origin stays with all that is done for it, so that no service need hand it on. What acts by itself has
 * none, and its own commands are not audited, whatever request woke it.
 */
const current = new AsyncLocalStorage<Origin>()

export const withOrigin = <T>(origin: Origin, act: () => T): T => current.run(origin, act)
export const currentOrigin = (): Origin | undefined => current.getStore()

/** Changes made from outside although no person of the cluster asks for them. */
const fromOutside: ReadonlySet<Command['type']> = new Set<Command['type']>(['cluster.create', 'node.join'])

/** What an entry carries to be audited; undefined for what the cluster does by itself, which events tell. */
export function originOf(command: Command, actor: Actor): Origin | undefined {
  const audited = (actor.kind !== 'node' && actor.kind !== 'system') || fromOutside.has(command.type)
  return audited ? (currentOrigin() ?? {}) : undefined
}

/** An actor as the log keeps it: what they may do is the state's to say, and may be much. */
export function actorInLog(actor: Actor): Actor {
  if (actor.kind !== 'user') return actor
  const { kind, name, rank, token } = actor
  return token === undefined ? { kind, name, rank } : { kind, name, rank, token }
}
