import { setTimeout as delay } from 'node:timers/promises'
import {
  containerAsks,
  type ExperimentSpec,
  pinnedImage,
  ProblemError,
  type Reason,
  type RoleSpec,
} from '../../../contract/index.ts'
import { uidOf } from '../../cluster/people-ids.ts'
import { checkContainer } from '../../cluster/rules/policy.ts'
import { NoTicket } from '../kerberos/failure.ts'
import { bootId } from '../process/proc.ts'
import { type Found, type Launch, type Runtime, StartFailure } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'
import { taskEnvironment, tokenDigest } from './environment.ts'
import { fetchCode } from './prepare.ts'
import { secretsOf } from './secrets.ts'
import { pullTeller } from './pull-teller.ts'
import { restoreOutput } from './restore.ts'

/** The cluster has no use for this attempt any more. */
export class Unwanted extends Error {}

/**
 * The started attempt: the one that is there, or a new one. Throws StartFailure when it can never be started,
 * Unwanted when it must not be; `stop` calls off what is not started yet.
 */
export async function launched(
  attempt: Attempt,
  context: RunnerContext,
  signal: AbortSignal,
  stop: AbortSignal,
): Promise<Found> {
  const { found, record, task } = attempt
  if (found && (found.startedAt !== null || found.exit)) return found
  if (record.phase === 'running' || task.state === 'Running') throw nothingLeft(record.bootId)
  const either = AbortSignal.any([signal, stop])
  // What is only created was prepared; what is not even that begins anew.
  if (!found) await prepare(attempt, context, either)
  return start(attempt, context, signal, either)
}

function nothingLeft(bootedThen: string): StartFailure {
  return bootedThen === bootId()
    ? new StartFailure(
        'container_lost',
        'It was running, but nothing is left of it on this host: somebody or something else removed it.',
      )
    : new StartFailure(
        'host_restarted',
        'The host was restarted while it ran, and nothing is left of it there.',
      )
}

async function prepare(attempt: Attempt, context: RunnerContext, signal: AbortSignal): Promise<void> {
  const { folders, api, timing, cluster, blobs } = context
  signal.throwIfAborted()
  checkSpace(context)
  if (attempt.record.phase !== 'preparing') await attempt.save({ phase: 'preparing' })
  const folder = await folders.make(attempt.task.id, attempt.task.attempt, api.caFile)
  const source = { cluster, blobs, patienceMs: timing.startPatience, retryMs: timing.retry }
  await fetchCode(attempt.experiment, folder.code, source, signal)
  await restoreOutput(attempt.task, folder.output, source, signal)
  await announce(attempt, context, signal)
  signal.throwIfAborted()
  await attempt.save({ phase: 'starting', bootId: bootId() })
}

function checkSpace({ space }: RunnerContext): void {
  try {
    space.check()
  } catch (error) {
    if (error instanceof ProblemError) throw new StartFailure(error.code, `${error.message}. ${error.hint}`)
    throw error
  }
}

/** Nothing is started before the cluster has agreed, through its log, that this attempt is still the one. */
async function announce(attempt: Attempt, { reports }: RunnerContext, signal: AbortSignal): Promise<void> {
  const { id, attempt: number } = attempt.task
  const token_sha256 = tokenDigest(attempt.record.token)
  const before = reports.current(id, number)?.token_sha256
  if (before && before !== token_sha256)
    throw new StartFailure(
      'state_lost',
      "The agent lost its notes of this attempt, so it cannot tell whether it ran. Submit the experiment again, and check this host's disk.",
    )
  const boot_id = bootId()
  const reported = await reports.send({ ...attempt.report('Starting'), token_sha256, boot_id }, signal)
  // A late report is taken without complaint; whether it still counts the state says.
  const after = reports.current(id, number)
  if (reported === 'refused' || after?.token_sha256 !== token_sha256) throw new Unwanted()
}

async function start(
  attempt: Attempt,
  context: RunnerContext,
  signal: AbortSignal,
  either: AbortSignal,
): Promise<Found> {
  const { runtime, timing, leases, log, reports } = context
  let deadline = Date.now() + timing.startPatience
  const tell = (reason: Reason) =>
    // A late one does no harm: a task that runs does not start again.
    void reports.send({ ...attempt.report('Starting'), reason }, either).catch(() => undefined)
  const tellPull = pullTeller(tell)
  const onPull: Launch['onPull'] = (image, progress) => {
    // A large image takes as long as it takes: only standing still counts.
    deadline = Date.now() + timing.startPatience
    tellPull(attempt.experiment.spec.roles[attempt.task.role]?.image ?? image, progress)
  }
  const launch = { ...launchOf(attempt, context), onPull }
  let secrets: Launch['secrets']
  let awaited: string | undefined
  for (;;) {
    try {
      // Once: the folder is not made anew under a container that may run already.
      secrets ??= await secretsOf(attempt, context)
      leases?.begin(attempt.task)
      attempt.found = await runtime.start(secrets ? { ...launch, secrets } : launch, either)
      return attempt.found
    } catch (error) {
      signal.throwIfAborted()
      const waits = error instanceof NoTicket && error.passing ? error : undefined
      if (error instanceof StartFailure && !waits) throw error
      if (either.aborted) return await whatStarted(attempt, context)
      log.warn({ err: error, task: attempt.task.id }, 'could not be started just now; trying again')
      if (Date.now() > deadline) throw waits ?? startFailed(runtime, error)
      if (waits && waits.code !== awaited) tell({ code: waits.code, message: waits.message })
      awaited = waits?.code
    }
    await delay(timing.retry, undefined, { signal })
  }
}

const startFailed = (runtime: Runtime, error: unknown) =>
  new StartFailure(
    'start_failed',
    `The ${runtime.name} runtime of this node could not start it: ${(error as Error).message}`,
    error,
  )

/** A start that was called off may have come to something. */
async function whatStarted(attempt: Attempt, { runtime }: RunnerContext): Promise<Found> {
  const { id, attempt: number } = attempt.task
  attempt.found = (await runtime.list()).find((one) => one.task === id && one.attempt === number)
  if (attempt.found && attempt.found.startedAt !== null) return attempt.found
  throw new Error('called off before it started')
}

/** What its name meant when it was submitted, where the cluster keeps it: all tasks and attempts run the same. */
function imageOf(role: RoleSpec | undefined): string | null {
  if (role?.image === undefined) return null
  return role.image_digest === undefined ? role.image : pinnedImage(role.image, role.image_digest)
}

/** What was allowed when it was submitted may be forbidden by now. */
function checkPolicy({ experiment }: Attempt, { cluster }: RunnerContext): void {
  try {
    checkContainer(cluster.state(), experiment.spec, experiment.owner)
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    throw new StartFailure(
      'policy_forbids',
      `${error.message}. It was allowed when this was submitted.`,
      error,
    )
  }
}

/** The tasks of an array are each on their own. */
const worksTogether = ({ roles, array }: ExperimentSpec): boolean =>
  !array && Object.values(roles).reduce((sum, { replicas }) => sum + replicas, 0) > 1

function launchOf(attempt: Attempt, context: RunnerContext): Launch {
  const { task, experiment, record } = attempt
  const { api, folders, cluster } = context
  checkPolicy(attempt, context)
  const role = experiment.spec.roles[task.role]
  const folder = folders.of(task.id, task.attempt)
  return {
    task: task.id,
    attempt: task.attempt,
    workload: task.workload,
    image: imageOf(role),
    command: role?.command ?? [],
    env: taskEnvironment(task, experiment, { url: api.url, token: record.token }),
    resources: task.resources,
    gpus: task.gpus,
    person: { name: experiment.owner, uid: uidOf(cluster.state(), experiment.owner) },
    gang: worksTogether(experiment.spec),
    asks: containerAsks(experiment.spec),
    codeFolder: folder.code,
    outputFolder: folder.output,
    ownFolder: folder.own,
    caFile: api.caFile ? folder.ca : null,
  }
}
