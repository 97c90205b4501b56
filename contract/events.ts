interface EventCode {
  /** The kind of its subject. */
  readonly subject: string
  readonly meaning: string
}

/** Every code of an event, what it is about and what it means. A code that is here never changes its meaning. */
export const eventCodes = {
  'cluster.created': { subject: 'cluster', meaning: 'The first agent made the cluster.' },
  'cluster.leader_changed': { subject: 'cluster', meaning: 'Another agent leads, and has for a moment.' },
  'cluster.key_rotated': { subject: 'cluster', meaning: 'Somebody replaced the cluster key; what it protects is wrapped by the new one.' },
  'cluster.ca_replaced': { subject: 'cluster', meaning: 'Somebody replaced the certificate authority; the old one counts until all nodes have new certificates.' },
  'cluster.ca_retired': { subject: 'cluster', meaning: 'The former certificate authority counts no more.' },
  'cluster.recovered': { subject: 'cluster', meaning: 'The cluster was founded anew from one member that outlived the majority.' },
  'cluster.restored': { subject: 'cluster', meaning: 'The cluster was made from a backup.' },

  'monitoring.token_created': { subject: 'cluster', meaning: 'Somebody made a token that reads metrics.' },
  'monitoring.tokens_revoked': { subject: 'cluster', meaning: 'Somebody took back every token that reads metrics.' },

  'node.joined': { subject: 'node', meaning: 'A host joined with a token.' },
  'node.ready': { subject: 'node', meaning: 'The node told what it has; tasks can be placed there.' },
  'node.unreachable': { subject: 'node', meaning: 'The leader hears nothing from the node.' },
  'node.returned': { subject: 'node', meaning: 'The node is heard again.' },
  'node.removed': { subject: 'node', meaning: 'Somebody removed the node for good.' },
  'node.lost': { subject: 'node', meaning: 'The node was left behind when the cluster was recovered or restored.' },
  'node.confirmed_down': { subject: 'node', meaning: 'An admin said that the host is off; what was on hold for it is let go.' },
  'node.cordoned': { subject: 'node', meaning: 'It takes nothing new; what runs there goes on.' },
  'node.uncordoned': { subject: 'node', meaning: 'It takes new work again.' },
  'node.draining': { subject: 'node', meaning: 'It is emptied: what is not done by the deadline is stopped and waits for another place.' },
  'node.drained': { subject: 'node', meaning: 'It is emptied, and nothing runs there any more.' },
  'node.reboot_notice': { subject: 'node', meaning: 'Its restart was announced: it is emptied until then, and in use again when it is back.' },
  'node.rebooted': { subject: 'node', meaning: 'Its host was restarted; what ran there is lost.' },
  'node.labelled': { subject: 'node', meaning: 'Its labels were changed.' },
  'node.renamed': { subject: 'node', meaning: 'It has another name.' },
  'node.gpu_refused': { subject: 'node', meaning: 'A GPU it reported belongs to another node; it is not handed out here.' },
  'node.gpu_fault': { subject: 'node', meaning: 'A GPU is sick, gone or not answering; it is not handed out, and a task that cannot go on without it is ended.' },
  'node.gpu_well': { subject: 'node', meaning: 'A GPU that was not handed out is well again.' },
  'node.state_differs': { subject: 'node', meaning: 'Its copy of the replicated state is wrong; it makes it anew.' },
  'node.state_equal': { subject: 'node', meaning: 'Its copy of the replicated state is as the others’ again.' },

  'image.imported': { subject: 'image', meaning: 'Somebody gave the cluster an image as a tar file.' },
  'image.renamed': { subject: 'image', meaning: 'A name was given to it, or taken from it.' },
  'image.removed': { subject: 'image', meaning: 'The cluster keeps it no longer.' },
  'image.pull_asked': { subject: 'node', meaning: 'Somebody asked the node to bring an image into its engine.' },
  'image.pulled': { subject: 'node', meaning: 'A node’s engine has it now.' },
  'image.pull_failed': { subject: 'node', meaning: 'A node’s engine could not get it.' },
  'image.remove_asked': { subject: 'node', meaning: 'Somebody asked the node to remove an image from its engine.' },
  'image.evicted': { subject: 'node', meaning: 'A node removed it from its engine.' },
  'image.remove_failed': { subject: 'node', meaning: 'A node’s engine would not remove it.' },
  'image.policy_changed': { subject: 'cluster', meaning: 'How long unused images are kept was changed.' },
  'registry.added': { subject: 'registry', meaning: 'A registry was made known.' },
  'registry.changed': { subject: 'registry', meaning: 'What is known of a registry was changed.' },
  'registry.removed': { subject: 'registry', meaning: 'A registry is not used any more.' },

  'secret.set': { subject: 'secret', meaning: 'Somebody made a secret, or replaced it.' },
  'secret.shared': { subject: 'secret', meaning: 'Who besides its owner may use a secret was changed.' },
  'secret.deleted': { subject: 'secret', meaning: 'A secret was deleted.' },

  'kerberos.changed': { subject: 'cluster', meaning: 'The Kerberos realms of which tasks may have tickets were changed.' },

  'policy.changed': { subject: 'cluster', meaning: 'What containers may have of their host was changed.' },

  'queue.created': { subject: 'queue', meaning: 'Somebody made a queue.' },
  'queue.changed': { subject: 'queue', meaning: 'What a queue takes was changed.' },
  'queue.deleted': { subject: 'queue', meaning: 'Somebody deleted a queue, or set the default one back.' },
  'quota.set': { subject: 'quota', meaning: 'The quota of a user, a team or the cluster was set.' },
  'quota.deleted': { subject: 'quota', meaning: 'The quota of a user, a team or the cluster was taken away.' },
  'prices.set': { subject: 'cluster', meaning: 'What an hour of GPU, core or memory costs was set.' },
  'reservation.created': { subject: 'reservation', meaning: 'Nodes or GPUs were reserved for somebody for a time.' },
  'reservation.deleted': { subject: 'reservation', meaning: 'A reservation was taken back.' },

  'user.signed_in': { subject: 'user', meaning: 'Somebody signed in.' },
  'user.created': { subject: 'user', meaning: 'A person was given an account.' },
  'user.changed': { subject: 'user', meaning: 'The rank, the name, the address or the user id of a person was changed.' },
  'user.disabled': { subject: 'user', meaning: 'A person may no longer sign in; all their tokens ended.' },
  'user.enabled': { subject: 'user', meaning: 'A person may sign in again.' },
  'user.password_changed': { subject: 'user', meaning: 'A person chose another password; their other sign-ins ended.' },
  'user.password_reset': { subject: 'user', meaning: 'An admin gave a person a one-time password; their sign-ins ended.' },
  'user.deleted': { subject: 'user', meaning: 'A person was removed, with their tokens and memberships. Their work stays.' },
  'team.created': { subject: 'team', meaning: 'A team was made.' },
  'team.changed': { subject: 'team', meaning: 'The description or the groups of a team were changed.' },
  'team.member_set': { subject: 'team', meaning: 'Somebody became a member of a team, or has another rank in it.' },
  'team.member_removed': { subject: 'team', meaning: 'Somebody is a member of the team no longer.' },
  'team.deleted': { subject: 'team', meaning: 'A team was deleted. Its work stays with its owners.' },
  'identity_provider.added': { subject: 'identity_provider', meaning: 'People can sign in by a directory or an identity provider.' },
  'identity_provider.changed': { subject: 'identity_provider', meaning: 'What is told of an identity provider was changed.' },
  'identity_provider.removed': { subject: 'identity_provider', meaning: 'Nobody signs in by it any more; the sign-ins of its people ended.' },
  'token.created': { subject: 'token', meaning: 'Somebody made an API token.' },
  'token.revoked': { subject: 'token', meaning: 'An API token or a sign-in was ended.' },

  'experiment.accepted': { subject: 'experiment', meaning: 'It was submitted.' },
  'experiment.queued': { subject: 'experiment', meaning: 'It waits, for the reason that is told, or waits again.' },
  'experiment.starting': { subject: 'experiment', meaning: 'Its tasks have places and are being started.' },
  'experiment.running': { subject: 'experiment', meaning: 'A task of it runs.' },
  'experiment.succeeded': { subject: 'experiment', meaning: 'Every task succeeded.' },
  'experiment.failed': { subject: 'experiment', meaning: 'A task failed for good.' },
  'experiment.stopped': { subject: 'experiment', meaning: 'It was stopped.' },
  'experiment.stop_requested': { subject: 'experiment', meaning: 'Somebody, or its time limit, asked it to stop.' },
  'experiment.preempted': { subject: 'experiment', meaning: 'It gives its place to work of a higher class, and waits again.' },
  'experiment.edited': { subject: 'experiment', meaning: 'Its description or tags were changed.' },
  'experiment.shared': { subject: 'experiment', meaning: 'Who besides its owner sees it was changed.' },
  'experiment.deleted': { subject: 'experiment', meaning: 'It was deleted, with its files.' },

  'task.placed': { subject: 'task', meaning: 'An attempt of it was given to a node.' },
  'task.queued': { subject: 'task', meaning: 'Its attempt is over; it waits for another place.' },
  'task.starting': { subject: 'task', meaning: 'Its node prepares it: image, code, folders.' },
  'task.running': { subject: 'task', meaning: 'Its command runs.' },
  'task.succeeded': { subject: 'task', meaning: 'Its command ended with 0.' },
  'task.failed': { subject: 'task', meaning: 'It ended otherwise, or could not be started; the reason says which.' },
  'task.stopped': { subject: 'task', meaning: 'It was stopped.' },
  'task.evicted': { subject: 'task', meaning: 'It was asked to leave its node.' },
  'task.idle': { subject: 'task', meaning: 'Its GPUs do nothing.' },
  'task.troubled': { subject: 'task', meaning: 'It runs, but something that it was given begins to fail; the reason says what.' },
  'task.lost': { subject: 'task', meaning: 'Its attempt was given up together with its node.' },
} as const satisfies Record<string, EventCode> // prettier-ignore

/** docs/events.md. */
export function eventsPage(): string {
  const entries = Object.entries<EventCode>(eventCodes)
  const rows = entries.map(([code, { subject, meaning }]) => [`\`${code}\``, subject, meaning])
  const all = [['Code', 'About', 'What happened'], ...rows]
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((cells) => cells[column]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((text, at) => text.padEnd(widths[at] ?? 0)).join(' | ')} |`
  const rule = line(widths.map((width) => '-'.repeat(width)))
  return [
    '# Events',
    '',
    'Everything that changes state is an event: when, what, about what, why, and who did it. `submarine event list` shows them. A code keeps its meaning.',
    'This page is made from `contract/events.ts`: `npm test -- -u contract/events` writes it anew.',
    '',
    line(all[0] ?? []),
    rule,
    ...all.slice(1).map(line),
    '',
  ].join('\n')
}
