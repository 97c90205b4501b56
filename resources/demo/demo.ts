// Three agents on this machine as one cluster, and the penguin experiment on it.
//
//   npm run demo             runs until Ctrl-C
//   npm run demo -- --once   runs the experiment, stops everything, prints one JSON line
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { lockFolder } from '../../agent/cluster/identity/lock.ts'
import { problems, ProblemError } from '../../contract/index.ts'
import { findEngine, removeContainersOf } from './engine.ts'
import { demoSpec, follow, outcomeOf } from './experiment.ts'
import { type Fleet, startFleet } from './fleet.ts'
import { claim, type Running } from './running.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = path.join(root, '.submarine', 'demo')
/** What a shell answers for a command ended by Ctrl-C. */
const interrupted = 130
const say = (text = '') => process.stderr.write(`${text}\n`)

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.filter((arg) => arg !== '--once')
  if (unknown.length) {
    say(`unknown argument: ${unknown.join(' ')}\nusage: npm run demo [-- --once]`)
    return 2
  }
  await mkdir(folder, { recursive: true })
  const claimed = await claim(folder)
  if ('other' in claimed) return alreadyRunning(claimed.other)
  try {
    return await run(args.includes('--once'), claimed.tell)
  } finally {
    await claimed.release()
  }
}

function alreadyRunning({ address, user, password, pid }: Running): number {
  say(`The demo is running already (pid ${pid}).`)
  if (address) say(`  Console   ${address}\n  Sign in   ${user} / ${password}`)
  say(`Stop it with Ctrl-C in its terminal, or: kill ${pid}`)
  return 1
}

async function run(once: boolean, tell: (running: Omit<Running, 'pid'>) => Promise<void>): Promise<number> {
  const started = performance.now()
  const data = path.join(folder, 'data')
  const engine = await findEngine()
  // What a demo that was killed left behind: its containers would hold nobody's capacity but the machine's.
  if (engine) await removeContainersOf(engine, data)
  await refuseIfInUse(data)
  await rm(data, { recursive: true, force: true })
  const stop = stopSignal()
  let fleet: Fleet | undefined
  try {
    say(
      engine
        ? `Docker Engine ${engine.version} found.`
        : 'No Docker Engine answers: tasks run as plain processes, without isolation.',
    )
    fleet = await startFleet({ data, engine, signal: stop.signal, say })
    await tell({ address: fleet.address, user: fleet.user, password: fleet.password })
    const spec = await demoSpec(fleet.client, engine)
    await writeFile(fleet.demoFile, JSON.stringify({ spec }))
    say(`\n  Console   ${fleet.address}\n  Sign in   ${fleet.user} / ${fleet.password}\n`)
    const experiment = await fleet.client.call('experiments.create', { body: spec })
    say(`Experiment ${experiment.id} submitted; its log:\n`)
    await follow(fleet.client, experiment.id, stop.signal, (line) => say(`  ${line}`))
    stop.signal.throwIfAborted()
    const outcome = await outcomeOf(fleet.client, experiment.id, performance.now() - started)
    say(`\n${outcome.state} on ${outcome.node} after ${outcome.seconds} s, accuracy ${outcome.accuracy}.`)
    const good = outcome.state === 'Succeeded'
    if (!once && !stop.signal.aborted) {
      say(`\nThe cluster runs until Ctrl-C. From another terminal:\n\n${fleet.cliHints}\n`)
      await stop.promise
    }
    say('Stopping …')
    await fleet.stop()
    fleet = undefined
    if (once) process.stdout.write(`${JSON.stringify(outcome)}\n`)
    if (!good) say(`The experiment ended as ${outcome.state}: ${outcome.reason ?? 'no reason given'}`)
    return good ? 0 : 1
  } catch (error) {
    if (!stop.signal.aborted) throw error
    say('\nStopped before the experiment had ended.')
    return interrupted
  } finally {
    await fleet?.stop()
    stop.end()
  }
}

/** An agent may have outlived its demo, or been started again by hand: its data is not thrown away under it. */
async function refuseIfInUse(data: string): Promise<void> {
  for (const name of await readdir(data).catch(() => [])) {
    const folder = path.join(data, name)
    if (!(await stat(folder)).isDirectory()) continue
    const unlock = await lockFolder(path.join(folder, 'agent.lock'))
    await unlock()
  }
}

/** Ctrl-C and kill end the demo in order: experiments, agents, containers. */
function stopSignal(): { signal: AbortSignal; promise: Promise<void>; end(): void } {
  const controller = new AbortController()
  const promise = new Promise<void>((resolve) =>
    controller.signal.addEventListener('abort', () => resolve(), { once: true }),
  )
  const onSignal = () => controller.abort(new Error('stopped'))
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal)
  return {
    signal: controller.signal,
    promise,
    end: () => {
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(name, onSignal)
    },
  }
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  say(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`)
  if (error instanceof ProblemError) {
    for (const { pointer, message } of error.errors ?? []) say(`  ${pointer}: ${message}`)
    say(error.hint || problems[error.code][2])
  }
  say(`The agents' logs are in ${path.join(folder, 'data')}.`)
  process.exitCode = 1
}
