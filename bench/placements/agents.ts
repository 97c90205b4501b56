// A process with one agent or several: all of each but its engine is real.
import { createLog } from '../../agent/http/log.ts'
import { foundCluster } from '../../agent/cluster/entry/found.ts'
import { joinCluster } from '../../agent/cluster/entry/join.ts'
import { openFolder } from '../../agent/cluster/identity/data-folder.ts'
import { compose, type RunningAgent } from '../../agent/compose.ts'
import { answer, config } from '../child.ts'
import { pretendingEngine } from './engine.ts'

export interface AgentPlace {
  readonly name: string
  readonly data: string
  /** HOST:PORT. */
  readonly address: string
  readonly http: number
  /** A token to join with; absent: it founds the cluster. */
  readonly join?: string
}

export interface AgentsConfig {
  readonly password: string
  readonly cpu: number
  readonly taskMs: number
}

const { password, cpu, taskMs } = config<AgentsConfig>()
const log = createLog('warn')
const running: RunningAgent[] = []

async function start({ name, data, address, http, join }: AgentPlace): Promise<string> {
  if (join === undefined) await foundCluster({ data, name, address, clusterName: 'bench', password })
  else await joinCluster({ data, token: join, name, address })
  const folder = await openFolder(data)
  const options = {
    data, name, bind: address, advertise: address, httpLoopback: http, docker: false, processRuntime: true, logLevel: 'warn',
    share: { cpu, memory: 1024 ** 3 }, diskFloor: 1,
  } // prettier-ignore
  const fail = (error: Error) => {
    console.error(error)
    process.exit(1)
  }
  const agent = await compose(folder, options, log, fail, { runtimes: [pretendingEngine(taskMs)] })
  running.push(agent)
  await agent.founded
  return folder.identity.node
}

answer({
  start,
  memory: () => process.memoryUsage().rss / 1024 ** 2,
  stop: () => Promise.all(running.splice(0).map((agent) => agent.stop())),
})
