import { createHash, randomBytes } from 'node:crypto'
import { parseSpec, permits, ProblemError } from '../../contract/index.ts'
import type {
  Actor,
  Experiment,
  ExperimentPatch,
  ExperimentSpec,
  State as RunState,
} from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { imageFor } from '../cluster/images.ts'
import { tasksOfSpec } from '../cluster/spec-tasks.ts'
import type { ExperimentRow, State } from '../cluster/state.ts'
import { checkQueue } from '../cluster/rules/order.ts'
import { checkSecrets, placedSecrets } from '../cluster/secret-access.ts'
import { checkContainer } from '../cluster/rules/policy.ts'
import { experimentVersion } from '../cluster/rules/settle.ts'
import { demand, demandOfOwn, experimentFor, mayRead, mayUseUpload, tasksOf } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { explainSpec } from './explanations.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { experimentView } from './views.ts'

export interface ExperimentFilter {
  readonly state?: RunState | undefined
  readonly owner?: string | undefined
  readonly name?: string | undefined
}

export interface ExperimentService {
  /** `input` is the body as it came: `parseSpec` reads both spellings. */
  create(
    actor: Actor,
    input: unknown,
    options: { dryRun: boolean; idempotencyKey?: string | undefined },
  ): Promise<Experiment>
  list(
    actor: Actor,
    query: PageQuery & ExperimentFilter & { consistency: Consistency },
  ): Promise<Page<Experiment>>
  get(actor: Actor, ref: string, query: { consistency: Consistency }): Promise<Experiment>
  edit(actor: Actor, ref: string, patch: ExperimentPatch, ifVersion?: number): Promise<Experiment>
  stop(actor: Actor, ref: string): Promise<Experiment>
  delete(actor: Actor, ref: string, ifVersion?: number): Promise<void>
}

export function createExperiments(deps: ServiceDeps): ExperimentService {
  const { cluster, submitter } = deps
  return {
    create: (actor, input, options) => create(deps, actor, input, options),
    async list(actor, query) {
      demandOfOwn(actor, 'experiment:read')
      await settled(cluster, query.consistency)
      const state = cluster.state()
      const rows = newestFirst(state).filter((row) => mayRead(actor, row) && matches(row, query))
      const view = (row: ExperimentRow) => experimentView(state, row)
      return pageOf(rows, query, 'descending', keyOf, view, cluster.status().applied)
    },
    async get(actor, ref, { consistency }) {
      await settled(cluster, consistency)
      const row = await experimentFor(cluster, actor, 'experiment:read', ref, consistency)
      return experimentView(cluster.state(), row)
    },
    async edit(actor, ref, patch, ifVersion) {
      const { id } = await experimentFor(cluster, actor, 'experiment:edit', ref)
      const if_version = ifVersion === undefined ? {} : { if_version: ifVersion }
      await cluster.propose({ type: 'experiment.edit', id, patch, ...if_version }, actor)
      return viewOf(cluster.state(), id)
    },
    async stop(actor, ref) {
      const { id, stop_requested } = await experimentFor(cluster, actor, 'experiment:stop', ref)
      // A repeat of a stop that was acknowledged to nobody, perhaps: it is stopping, or has.
      if (!stop_requested) await submitter.stop(id, actor)
      return viewOf(cluster.state(), id)
    },
    async delete(actor, ref, ifVersion) {
      // The version may come from an agent that is ahead of this one; an old copy would refuse it for no reason.
      if (ifVersion !== undefined) await cluster.barrier()
      const row = await experimentFor(cluster, actor, 'experiment:delete', ref)
      const shown = experimentVersion(row, tasksOf(cluster.state(), row))
      if (ifVersion !== undefined && ifVersion !== shown)
        throw new ProblemError('precondition_failed', `${row.id} is at version ${shown}`)
      const if_version = ifVersion === undefined ? {} : { if_version: row.resource_version }
      await cluster.propose({ type: 'experiment.delete', id: row.id, ...if_version }, actor)
    },
  }
}

async function create(
  deps: ServiceDeps,
  actor: Actor,
  input: unknown,
  { dryRun, idempotencyKey }: { dryRun: boolean; idempotencyKey?: string | undefined },
): Promise<Experiment> {
  const { cluster, submitter, space } = deps
  demand(actor, 'experiment:create')
  const asked = await readSpec(cluster, actor, input)
  await checkTeam(cluster, actor, asked)
  const spec = await withSecrets(cluster, actor, await pinned(cluster, asked))
  if (dryRun) checkQueue(cluster.state(), spec)
  const owner = actor.kind === 'user' ? actor.name : actor.kind
  if (dryRun) {
    checkContainer(cluster.state(), spec, owner)
    submitter.validate(spec, owner)
    return {
      ...preview(spec, owner, deps),
      plan: await explainSpec(deps, actor, { id: 'dry-run', spec, owner }),
    }
  }
  const idempotency = idempotencyKey
    ? { key: `${owner}:${idempotencyKey}`, request_sha256: digestOf(asked) }
    : undefined
  // A repeat is answered even if the cluster could not take the work again by now.
  const earlier = idempotency && cluster.state().idempotency.get(idempotency.key)
  if (earlier) {
    if (earlier.request_sha256 !== idempotency.request_sha256) throw new ProblemError('idempotency_mismatch')
    return viewOf(cluster.state(), earlier.made)
  }
  space.check()
  submitter.validate(spec, owner)
  const id = newId((deps.now ?? Date.now)())
  const made = await submitter.submit({ id, spec, owner, ...(idempotency ? { idempotency } : {}) }, actor)
  return viewOf(cluster.state(), made.id)
}

async function readSpec(cluster: Cluster, actor: Actor, input: unknown): Promise<ExperimentSpec> {
  const parsed = parseSpec(input)
  if ('errors' in parsed) throw new ProblemError('invalid_spec', undefined, { errors: parsed.errors })
  const upload = parsed.spec.code?.upload
  const known = () => upload === undefined || mayUseUpload(cluster.state(), actor, upload)
  // It may have been uploaded to another agent a moment ago.
  if (!known()) await cluster.barrier()
  if (!known())
    throw new ProblemError('invalid_spec', undefined, {
      errors: [{ pointer: '/code/upload', message: 'no file with this SHA-256 was uploaded' }],
    })
  return parsed.spec
}

/** Its token may allow less than the person may; what they may is asked once more where the log decides. */
async function withSecrets(cluster: Cluster, actor: Actor, spec: ExperimentSpec): Promise<ExperimentSpec> {
  if (!spec.secrets) return spec
  await cluster.barrier()
  const owner = actor.kind === 'user' ? actor.name : actor.kind
  const secrets = placedSecrets(cluster.state(), spec.secrets, owner)
  checkSecrets(cluster.state(), secrets, owner, actor)
  return { ...spec, secrets }
}

/** Work is charged to a team by its members alone. */
async function checkTeam(cluster: Cluster, actor: Actor, { team }: ExperimentSpec): Promise<void> {
  if (team === undefined) return
  // It may have been made, or joined, through another agent a moment ago: the answer is as new as that.
  if (!cluster.state().teams.has(team)) await cluster.barrier()
  if (!cluster.state().teams.has(team))
    throw new ProblemError('invalid_spec', undefined, {
      errors: [{ pointer: '/team', message: `there is no team ${team}` }],
      hint: 'See `submarine team list`, or leave the team out.',
    })
  if (!permits(actor, 'experiment:create', { team }))
    throw new ProblemError('forbidden', `you are no member of the team ${team}`, {
      hint: 'An admin of the team can add you: `submarine team add`.',
    })
}

/**
 * Its imported images by digest: a name may be given to another image while it waits, between two tasks or before a
 * retry. As new as every import that was acknowledged, also by another agent.
 */
async function pinned(cluster: Cluster, spec: ExperimentSpec): Promise<ExperimentSpec> {
  if (!Object.values(spec.roles).some(({ image }) => image !== undefined)) return spec
  await cluster.barrier()
  const state = cluster.state()
  const roles = Object.entries(spec.roles).map(([name, role]) => {
    const found = role.image === undefined ? undefined : imageFor(state, role.image)
    return [name, found ? { ...role, image_digest: found.digest } : role] as const
  })
  return { ...spec, roles: Object.fromEntries(roles) }
}

function viewOf(state: State, id: string): Experiment {
  const row = state.experiments.get(id)
  if (!row) throw new ProblemError('not_found', `experiment ${id} was made, and deleted since`)
  return experimentView(state, row)
}

/** What a submit would make; nothing is kept. */
function preview(spec: ExperimentSpec, owner: string, { now = Date.now }: ServiceDeps): Experiment {
  const id = 'dry-run'
  const tasks = tasksOfSpec(spec).map(({ role, index, resources }) => ({
    id: `${id}-${role}-${index}`, workload: id, role, index, state: 'Accepted' as const, reason: null, attempt: 0,
    node: null, node_name: null, node_unreachable_since: null, runtime: null, isolation: null, resources, gpus: [], exit_code: null, started_at: null,
    finished_at: null, artifacts: null, log: null, resource_version: 0,
  })) // prettier-ignore
  return {
    id, name: spec.name, owner, description: '', tags: {}, spec, state: 'Accepted', reason: null, stop_requested: false,
    created_at: new Date(now()).toISOString(), started_at: null, finished_at: null, tasks, resource_version: 0,
  } // prettier-ignore
}

/** Grows with time and fits a host name, a container name and a file name: `exp-mh2k9c3x-7f3a1c`. */
const newId = (now: number) => `exp-${now.toString(36)}-${randomBytes(3).toString('hex')}`

/** Ids begin with the time they were made at, by the clock of the agent that took the request; the id breaks ties. */
const keyOf = (row: ExperimentRow) => `${row.created_at} ${row.id}`

const sorted = new WeakMap<State['experiments'], ExperimentRow[]>()
function newestFirst({ experiments }: State): ExperimentRow[] {
  const known = sorted.get(experiments)
  if (known) return known
  const rows = [...experiments.values()].toSorted((a, b) => (keyOf(a) > keyOf(b) ? -1 : 1))
  sorted.set(experiments, rows)
  return rows
}

function matches(row: ExperimentRow, { state, owner, name }: ExperimentFilter): boolean {
  return (
    (state === undefined || row.state === state) &&
    (owner === undefined || row.owner === owner) &&
    (name === undefined || row.name === name)
  )
}

/** Digest of what a request means: two spellings of one spec are one request. */
function digestOf(spec: ExperimentSpec): string {
  return createHash('sha256').update(canonical(spec)).digest('hex')
}

/** JSON with sorted keys. Only read specs come here, so the depth is known and small. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`
}
