import { actorName, ProblemError } from '../../contract/index.ts'
import { type Audited, audited } from './audit/record.ts'
import type { Command, Entry } from './commands.ts'
import * as authority from './rules/authority.ts'
import * as blobs from './rules/blobs.ts'
import * as clusterKey from './rules/cluster-key.ts'
import * as eviction from './rules/eviction.ts'
import * as experiments from './rules/experiments.ts'
import * as images from './rules/images.ts'
import * as health from './rules/health.ts'
import * as identity from './rules/identity.ts'
import * as idle from './rules/idle.ts'
import * as loss from './rules/loss.ts'
import * as members from './rules/members.ts'
import * as operations from './rules/node-operations.ts'
import * as placement from './rules/placement.ts'
import * as preemption from './rules/preemption.ts'
import * as monitoring from './rules/monitoring.ts'
import * as queues from './rules/queues.ts'
import * as removal from './rules/removal.ts'
import * as kerberos from './rules/kerberos.ts'
import * as policy from './rules/policy.ts'
import * as reservations from './rules/reservations.ts'
import * as secrets from './rules/secrets.ts'
import * as sharing from './rules/sharing.ts'
import * as tasks from './rules/tasks.ts'
import * as teams from './rules/teams.ts'
import * as tokens from './rules/tokens.ts'
import * as users from './rules/users.ts'
import type { State } from './state.ts'
import { Transaction } from './transaction.ts'

type Rule<C extends Command> = (tx: Transaction, command: C) => unknown
type Rules = { [T in Command['type']]: Rule<Extract<Command, { type: T }>> }

/** Every invariant of the cluster is checked in these and nowhere else; a refusal is a thrown ProblemError. */
const rules: Rules = {
  'cluster.create': members.createCluster,
  'joinToken.create': members.createJoinToken,
  'node.join': members.joinNode,
  'node.report': members.reportNode,
  'node.replica': members.reportReplica,
  'node.cordon': operations.cordon,
  'node.drain': operations.drain,
  'node.reboot_notice': operations.rebootNotice,
  'node.uncordon': operations.uncordon,
  'node.label': operations.label,
  'node.rename': operations.rename,
  'node.confirm_down': operations.confirmDown,
  'node.remove': removal.removeNode,
  'node.liveness': health.liveness,
  'cluster.lead': health.lead,
  'user.create': users.create,
  'user.edit': users.edit,
  'user.password': users.setPassword,
  'user.rehash': users.rehash,
  'user.delete': users.remove,
  'team.put': teams.put,
  'team.delete': teams.remove,
  'team.member': teams.setMember,
  'token.create': tokens.create,
  'token.delete': tokens.remove,
  'tokens.used': tokens.used,
  'identityProvider.put': identity.put,
  'identityProvider.delete': identity.remove,
  'user.sync': identity.sync,
  'experiment.share': sharing.shareExperiment,
  'queue.put': queues.putQueue,
  'queue.delete': queues.deleteQueue,
  'quota.put': queues.putQuota,
  'quota.delete': queues.deleteQuota,
  'prices.put': queues.putPrices,
  'reservation.create': reservations.create,
  'reservation.delete': reservations.remove,
  'experiment.create': experiments.create,
  'experiment.edit': experiments.edit,
  'experiment.stop': experiments.stop,
  'experiment.delete': experiments.remove,
  'workload.wait': experiments.queue,
  'workload.place': placement.place,
  'workload.preempt': preemption.preempt,
  'workload.evict': eviction.evictTasks,
  'task.lost': loss.taskLost,
  'task.idle': idle.idle,
  'task.report': tasks.report,
  'task.copied': tasks.copied,
  'audit.note': () => undefined,
  'blob.create': blobs.create,
  'monitorToken.create': monitoring.createMonitorToken,
  'monitorTokens.revoke': monitoring.revokeMonitorTokens,
  'image.import': images.importImage,
  'image.hold': images.hold,
  'image.remove': images.remove,
  'image.job': images.ask,
  'image.done': images.done,
  'image.policy': images.setPolicy,
  'node.images': images.report,
  'policy.set': policy.set,
  'authority.rotate': authority.rotate,
  'authority.finish': authority.finish,
  'node.certificate': authority.certificate,
  'kerberos.set': kerberos.set,
  'clusterKey.rotate': clusterKey.rotate,
  'secret.put': secrets.put,
  'secret.delete': secrets.remove,
  'secret.share': secrets.share,
  'registry.put': images.putRegistry,
  'registry.remove': images.removeRegistry,
}

/** A member that does not know a command must stop: skipping it would make its state differ from the others'. */
export class UnknownCommand extends Error {}

export type Outcome = { readonly value: unknown } | { readonly problem: ProblemError }

/** Apply one entry: the new state and what changed, or the old state and why it was refused. Deterministic. */
export function apply(state: State, index: number, entry: Entry): Audited {
  const rule = Object.hasOwn(rules, entry.command.type)
    ? (rules[entry.command.type] as Rule<Command>)
    : undefined
  if (entry.v !== 1 || !rule)
    throw new UnknownCommand(
      `entry ${index} holds the command ${String(entry.command.type)} of version ${String(entry.v)}`,
    )
  const tx = new Transaction(state, index, entry.at, actorName(entry.actor))
  try {
    const value = rule(tx, entry.command) ?? null
    return audited(state, index, entry, { ...tx.end(), outcome: { value } })
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    return audited(state, index, entry, {
      state,
      changed: new Map(),
      events: [],
      outcome: { problem: error },
    })
  }
}
