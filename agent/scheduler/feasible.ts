import { Map as ImmutableMap } from 'immutable'
import { type ExperimentSpec, formatBytes, formatConstraint, ProblemError } from '../../contract/index.ts'
import { apply } from '../cluster/apply.ts'
import { add, lacking, nothing } from '../cluster/rules/capacity.ts'
import { meets } from '../cluster/rules/constraints.ts'
import { askOf, nothingUsed, overLimits } from '../cluster/rules/quota.ts'
import type { State } from '../cluster/state.ts'
import { ClusterIndex } from './cluster-index.ts'
import { amount, runtimeFor } from './fit.ts'
import { type Gang, gangOf, type Part } from './gang.ts'
import { placeGang } from './place.ts'
import { calm } from './surroundings.ts'
import { gpuWords, reasonsOn } from './words.ts'

/** The state as it would be with this submitted. Throws the problem it would be refused with. */
export function withSubmission(
  state: State,
  id: string,
  spec: ExperimentSpec,
  owner: string,
  now: number,
): State {
  const actor = { kind: 'system' } as const
  const command = { type: 'experiment.create', id, spec, owner } as const
  const applied = apply(state, 1, { v: 1, at: new Date(now).toISOString(), actor, command })
  if ('problem' in applied.outcome) throw applied.outcome.problem
  return applied.state
}

/**
 * Throws `never_fits` when the nodes, all at their emptiest, could not run it, with the nearest that they could. A node
 * that has not reported yet may turn out to be the one that fits. Nor may it exceed what `owner` may ever hold.
 */
export function checkFeasible(state: State, spec: ExperimentSpec, owner: string): void {
  const rows = [...state.nodes.values()]
  if (!rows.length || rows.some((row) => !row.inventory || !row.allocatable)) return
  const empty: State = {
    ...state,
    tasks: ImmutableMap(),
    experiments: ImmutableMap(),
    nodes: state.nodes.map((row) => (row.cordon ? { ...row, cordon: null } : row)),
  }
  const now = Date.now()
  const index = ClusterIndex.of(withSubmission(empty, 'asked', spec, owner, now))
  index.board.refresh(calm(now))
  const gang = index.lanes.entry('asked')?.gangs[0]
  if (!gang) return
  const quota = overLimits(state, gang.workload, askOf(gang.tasks, true), () => nothingUsed)
  if (quota)
    throw new ProblemError('never_fits', `it could never run: ${quota.message}`, {
      hint: 'Ask for less at once, or have an admin raise the quota; see `submarine quota list`.',
    })
  for (const part of gang.parts) checkPart(index, part, spec)
  if (!fits(index, gang)) throw tooMany(index, gang)
}

const fits = ({ board }: ClusterIndex, gang: Gang): boolean => {
  const takes = placeGang({ board, images: calm(0).images }, gang)
  for (const take of takes?.toReversed() ?? []) board.giveBack(take)
  return takes !== undefined
}

/** Is there a node for one task of it? */
function checkPart(index: ClusterIndex, part: Part, spec: ExperimentSpec): void {
  const { shape, tasks } = part
  const { sites } = index.board
  if (index.board.capacity(shape).total > 0) return
  const role = tasks[0]?.role ?? ''
  const able = sites.filter(({ row }) => runtimeFor(row, { image: shape.image }) !== undefined)
  if (!able.length && shape.image === undefined)
    throw new ProblemError('invalid_spec', undefined, {
      errors: [
        {
          pointer: isPlain(spec) ? '/environment' : `/roles/${role}/environment`,
          message: 'expected {image: …}: no node has an image of its own for commands without one',
        },
      ],
    })
  if (!able.length)
    throw new ProblemError(
      'never_fits',
      `no node has a Docker Engine to run the image ${shape.image} of ${role}`,
      { hint: 'Leave the image out, or have an admin start Docker on a node; see `submarine node list`.' },
    )
  const unmet = shape.constraints.find((one) => !able.some(({ row }) => meets(row, one)))
  if (unmet?.attribute === 'kerberos' && spec.secrets?.some(({ ticket }) => ticket))
    throw new ProblemError(
      'never_fits',
      `no node could ever run a task of ${role}: none has kinit to get its Kerberos ticket with`,
      { hint: 'Have an admin install the package krb5-user on a node that reaches the realm.' },
    )
  if (unmet)
    throw new ProblemError(
      'never_fits',
      `no node could ever run a task of ${role}: none meets ${formatConstraint(unmet)}`,
      {
        hint: 'Change the constraint, or have an admin give a node what it asks for; `submarine node get NAME` shows labels.',
      },
    )
  const [nearest] = able
    .map((site) => ({ site, reasons: reasonsOn(index.board, shape, site, 'there') }))
    .toSorted(
      (a, b) =>
        a.reasons.length - b.reasons.length ||
        b.site.devices.length - a.site.devices.length ||
        b.site.memory - a.site.memory,
    )
  const why = nearest ? `${nearest.site.row.name} comes nearest: ${nearest.reasons.map(({ message }) => message).join('; ')}` : '' // prettier-ignore
  const hint = nearestShape(index, part)
  throw new ProblemError(
    'never_fits',
    `no node could ever run a task of ${role}: ${why}`,
    hint ? { hint } : {},
  )
}

/** Was it written without roles? Then its fields stand at the top. */
const isPlain = ({ roles }: ExperimentSpec) => Object.keys(roles).length === 1 && 'worker' in roles

/** As many GPUs in several tasks, or fewer in one; or the most memory and cores that some node has. */
function nearestShape(index: ClusterIndex, { shape, tasks }: Part): string | undefined {
  const [task] = tasks
  const workload = index.live.get('asked')?.workload ?? index.lanes.entry('asked')?.workload
  if (!task || !workload) return undefined
  const withGpus = (gpu: number, count: number) => {
    const scale = gpu / Math.max(1, shape.gpu)
    const cpu = Math.max(0.001, Math.round(task.resources.cpu * scale * 1000) / 1000)
    const resources = { ...task.resources, gpu, cpu, memory: Math.ceil(task.resources.memory * scale) }
    const smaller = Array.from({ length: count }, (_, at) => ({ ...task, id: `smaller-${at}`, resources }))
    return fits(index, gangOf({ ...workload }, smaller, index.shapes))
  }
  for (let count = 2; count <= shape.gpu; count++)
    if (shape.gpu % count === 0 && withGpus(shape.gpu / count, count))
      return `The nearest that fits: ${count} tasks of ${gpuWords(shape.gpu / count, shape)} each.`
  for (let gpu = shape.gpu - 1; gpu > 0; gpu--)
    if (withGpus(gpu, 1)) return `The nearest that fits: ${gpuWords(gpu, shape)} in one task.`
  const rows = index.board.sites.map(({ row }) => row.allocatable ?? nothing)
  const largest = {
    cpu: Math.max(...rows.map(({ cpu }) => cpu)),
    memory: Math.max(...rows.map(({ memory }) => memory)),
  }
  return `At most ${largest.cpu} cores and ${formatBytes(largest.memory)} of memory are on one node.`
}

/** A gang starts together, so all of it must fit at once into all nodes at their emptiest. */
function tooMany(index: ClusterIndex, gang: Gang): ProblemError {
  const have = index.board.sites.reduce((sum, { row }) => add(sum, row.allocatable ?? nothing), nothing)
  const asked = gang.tasks.reduce((sum, task) => add(sum, task.resources), nothing)
  const parts = lacking(asked, have).map(
    (kind) => `${amount(kind, asked)} asked, ${amount(kind, have)} there`,
  )
  const why = parts.length
    ? `all nodes together have not enough: ${parts.join('; ')}`
    : `they do not fit beside each other on the nodes there are`
  let room = gang.tasks.length - 1
  while (room > 0 && !fits(index, gangOf(gang.workload, gang.tasks.slice(0, room), index.shapes))) room--
  const hint = room > 0 ? { hint: `At most ${room} of them fit at once.` } : {}
  return new ProblemError('never_fits', `the ${gang.tasks.length} tasks start together, and ${why}`, hint)
}
