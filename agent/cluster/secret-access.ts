import {
  type Actor,
  type Asked,
  faultsOfSecrets,
  type FieldError,
  fileOfSecret,
  isFinal,
  permits,
  ProblemError,
  realmOf,
  type SecretUse,
} from '../../contract/index.ts'
import type { KeyRing } from './identity/key-ring.ts'
import { personOf } from './people-ids.ts'
import { kerberosOf } from './rules/kerberos.ts'
import { secretContext } from './sealed.ts'
import type { SecretRow, State } from './state.ts'

type Readable = Pick<State, 'secrets' | 'users' | 'teams' | 'kerberos'>

export { secretContext } from './sealed.ts'

export const askedOfSecret = ({ owner, team, sharing }: SecretRow): Asked => ({ owner, team, sharing })

/**
 * May their work be given it? Admins of the cluster are asked like everybody else: what they may replace or delete is
 * not theirs to use.
 */
export function mayUse(actor: Actor, row: SecretRow): boolean {
  const plain: Actor = actor.kind === 'user' && actor.rank === 'admin' ? { ...actor, rank: 'member' } : actor
  return permits(plain, 'secret:use', askedOfSecret(row))
}

/** The id that a name means to its owner: their own, unless it says whose. */
export const secretId = (owner: string, ref: string): string => (ref.includes('/') ? ref : `${owner}/${ref}`)

/** Each with where it goes: without a word a keytab with a principal gives a ticket, and all else a file of its own name. */
export function placedSecrets(
  state: Pick<State, 'secrets'>,
  uses: readonly SecretUse[],
  owner: string,
): SecretUse[] {
  const placed = uses.map((use): SecretUse => {
    const { name, env, file, ticket } = use
    if (env !== undefined || file !== undefined || ticket) return use
    const principal = state.secrets.get(secretId(owner, name))?.principal
    return principal === undefined ? { name, file: fileOfSecret(name) } : { name, ticket: true }
  })
  const errors = faultsOfSecrets(placed)
  if (errors[0]) throw new ProblemError('invalid_spec', errors[0].message, { errors })
  return placed
}

/** Refuses secrets that are not there, or not for the owner of the work, and tickets that cannot be had. */
export function checkSecrets(
  state: Readable,
  uses: readonly SecretUse[] | undefined,
  owner: string,
  by: Actor | undefined = personOf(state, owner),
): void {
  const errors = (uses ?? []).flatMap(({ name, ticket }, at): FieldError[] => {
    const row = state.secrets.get(secretId(owner, name))
    if (row && by && mayUse(by, row)) return ticket ? faultOfTicket(state, row, `/secrets/${at}`) : []
    const message = `there is no secret ${secretId(owner, name)} that ${owner} may use`
    return [{ pointer: `/secrets/${at}`, message }]
  })
  if (errors[0])
    throw new ProblemError('invalid_spec', errors[0].message, {
      errors,
      hint: 'See `submarine secret list`; `submarine secret set NAME` keeps one, and its owner shares it with `submarine secret share`.',
    })
}

function faultOfTicket(state: Readable, { id, principal }: SecretRow, pointer: string): FieldError[] {
  if (principal === undefined)
    return [{ pointer, message: `the secret ${id} has no principal to have a ticket for; set it again with \`--kind keytab --principal\`` }] // prettier-ignore
  const realm = realmOf(principal)
  if (kerberosOf(state).realms.some((known) => known.realm === realm)) return []
  return [{ pointer, message: `the cluster does not know the realm ${realm} of ${principal}; an admin names it and its servers with \`submarine kerberos set\`` }] // prettier-ignore
}

export interface TaskSecret {
  readonly task: string
  readonly attempt: number
  readonly id: string
}

/** Opens a secret for the node that its task is on, and nobody else: whoever has it there may read it. */
export function openForTask(
  state: State,
  node: string,
  asked: TaskSecret,
  keys: Pick<KeyRing, 'open'>,
): string {
  const refuse = (why: string) => new ProblemError('forbidden', `the secret ${asked.id}: ${why}`)
  const task = state.tasks.get(asked.task)
  const experiment = task && state.experiments.get(task.workload)
  if (!task || !experiment || task.node !== node || task.attempt !== asked.attempt || isFinal(task.state))
    throw refuse(`no task on the node ${node} is to have it`)
  const uses = experiment.spec.secrets ?? []
  if (!uses.some(({ name }) => secretId(experiment.owner, name) === asked.id))
    throw refuse(`${experiment.name} was not submitted with it`)
  const row = state.secrets.get(asked.id)
  const owner = personOf(state, experiment.owner)
  if (!row || !owner || !mayUse(owner, row)) throw refuse(`${experiment.owner} may not use it, or it is gone`)
  return keys.open(row.sealed, secretContext(row.id, row.version))
}
