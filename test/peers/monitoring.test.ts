import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { needs } from '../setup/needs.ts'
import { eventually, freePorts, Lab } from '../cluster/lab.ts'

const exec = promisify(execFile)
const shipped = fileURLToPath(new URL('../../resources/monitoring/', import.meta.url))

interface Result {
  readonly metric: Record<string, string>
  readonly value: [number, string]
}

/** Debian's Prometheus, with the shipped configuration but for paths, targets and a shorter interval. */
class Prometheus {
  readonly #url: string
  readonly #process: ChildProcess

  private constructor(url: string, process: ChildProcess) {
    this.#url = url
    this.#process = process
  }

  static async start(lab: Lab): Promise<Prometheus> {
    const { token } = await lab.client().call('monitorTokens.create', {})
    const at = (name: string) => join(lab.folder, name)
    const ca = await fetch(`${lab.agents[0]?.url}/api/v2/ca.pem`)
    await writeFile(at('submarine-ca.pem'), await ca.text())
    await writeFile(at('submarine.token'), token)
    await copyFile(join(shipped, 'alerts.yml'), at('alerts.yml'))
    const config = (await readFile(join(shipped, 'prometheus.yml'), 'utf8'))
      .replaceAll('/etc/prometheus/', `${lab.folder}/`)
      .replaceAll('15s', '1s')
      .replace(/targets: .*/, `targets: ${JSON.stringify(lab.agents.map(({ tls }) => `127.0.0.1:${tls}`))}`)
    await writeFile(at('prometheus.yml'), config)
    const [port = 0] = await freePorts(1)
    const address = `127.0.0.1:${port}`
    const args = [`--config.file=${at('prometheus.yml')}`, `--storage.tsdb.path=${at('tsdb')}`, `--web.listen-address=${address}`] // prettier-ignore
    const child = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr.pipe(createWriteStream(at('prometheus.log')))
    const made = new Prometheus(`http://${address}`, child)
    await eventually('Prometheus is ready', async () =>
      fetch(`http://${address}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      ),
    )
    return made
  }

  async get<T>(path: string, query: Record<string, string> = {}): Promise<T> {
    const response = await fetch(`${this.#url}/api/v1/${path}?${new URLSearchParams(query).toString()}`)
    const answer = (await response.json()) as { status: string; error?: string; data: T }
    if (answer.status !== 'success') throw new Error(`${JSON.stringify(query)}: ${answer.error}`)
    return answer.data
  }

  async query(query: string): Promise<Result[]> {
    return (await this.get<{ result: Result[] }>('query', { query })).result
  }

  /** The one number that a query answers. */
  async number(query: string): Promise<number | undefined> {
    const [first] = await this.query(query)
    return first && Number(first.value[1])
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, 'exit')
    this.#process.kill()
    await ended
  }
}

interface Dashboard {
  readonly panels: readonly {
    readonly title: string
    readonly type: string
    readonly targets?: readonly { readonly expr: string }[]
  }[]
}

/** A panel's queries as Grafana sends them, every agent chosen. */
async function dashboardQueries(): Promise<{ title: string; query: string }[]> {
  const { panels } = JSON.parse(await readFile(join(shipped, 'dashboard.json'), 'utf8')) as Dashboard
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({
      title,
      query: expr.replaceAll('$__rate_interval', '30s').replaceAll('$instance', '.*'),
    })),
  )
}

describe('the shipped monitoring', needs.prometheus, () => {
  let lab: Lab
  let prometheus: Prometheus
  beforeAll(async () => {
    lab = await Lab.start()
    prometheus = await Prometheus.start(lab)
    const { id } = await lab.submit({
      name: 'watched',
      roles: { worker: { replicas: 2, resources: 'cpu=1,memory=64Mi', command: 'sleep 1000' } },
    })
    await lab.until(id, ({ state }) => state === 'Running')
    // Never fits beside the first: it waits.
    await lab.submit({
      name: 'waiting',
      roles: { worker: { replicas: 3, resources: 'cpu=2,memory=64Mi', command: 'true' } },
    })
    await eventually('three agents are scraped, and the leader’s figures with them', async () => {
      const up = await prometheus.number('sum(up)')
      return up === 3 && (await prometheus.number('sum(submarine_cluster_tasks{state="Running"})')) === 2
    })
  })
  afterAll(async () => {
    await prometheus?.stop()
    await lab?.stop()
  })

  it('has rules that promtool takes, and that fire when they should', async () => {
    await exec('promtool', ['check', 'rules', 'alerts.yml'], { cwd: shipped })
    await exec('promtool', ['test', 'rules', 'alerts.test.yml'], { cwd: shipped })
    const { groups } = await prometheus.get<{ groups: { rules: { name: string; lastError?: string }[] }[] }>(
      'rules',
    )
    const rules = groups.flatMap((group) => group.rules)
    expect(rules.length).toBeGreaterThan(10)
    expect(rules.filter(({ lastError }) => lastError)).toEqual([])
  })

  it('is metrics that promtool finds nothing wrong with, on every agent, in both formats', async () => {
    for (const agent of lab.agents) {
      const headers = { authorization: `Bearer ${lab.token}` }
      const text = await (await fetch(`${agent.url}/metrics`, { headers })).text()
      const checked = exec('promtool', ['check', 'metrics'])
      checked.child.stdin?.end(text)
      expect((await checked).stderr).toBe('')
      const open = await fetch(`${agent.url}/metrics`, {
        headers: { ...headers, accept: 'application/openmetrics-text' },
      })
      expect((await open.text()).replaceAll(/^#.*\n/gm, '').length).toBeGreaterThan(1000)
    }
  })

  it('is read by whoever has a token, and by nobody else', async () => {
    const { activeTargets } = await prometheus.get<{
      activeTargets: { health: string; lastError: string }[]
    }>('targets')
    expect(activeTargets.map(({ health, lastError }) => [health, lastError])).toEqual(
      Array.from({ length: 3 }, () => ['up', '']),
    )
    expect((await fetch(`${lab.agents[0]?.url}/metrics`)).status).toBe(401)
  })

  it('has a dashboard whose every query is answered', async () => {
    const queries = await dashboardQueries()
    expect(queries.length).toBeGreaterThan(25)
    // No GPU in this lab, nothing refused, no stream ended.
    const mayBeEmpty = /submarine_gpu_|_gpus|refusals_total/
    await eventually('every query has an answer', async () => {
      const empty = []
      for (const { title, query } of queries)
        if (!(await prometheus.query(query)).length && !mayBeEmpty.test(query)) empty.push(title)
      return empty.length === 0
    })
    for (const { query } of queries) await prometheus.query(query)
  })

  it('counts the cluster once, also after the leader is gone', async () => {
    expect(await prometheus.number('sum(submarine_cluster_nodes)')).toBe(3)
    expect(await prometheus.number('sum(submarine_cluster_workloads{state="Running"})')).toBe(1)
    expect(await prometheus.number('count(submarine_raft_role{role="leader"} == 1)')).toBe(1)
    const leader = await lab.leader()
    await leader.kill()
    await eventually('another agent tells of the cluster', async () => {
      const told = await prometheus.number('sum(submarine_cluster_nodes{liveness="unreachable"})')
      return told === 1 && (await prometheus.number('sum(submarine_cluster_nodes)')) === 3
    })
    await eventually('the alert is pending', async () =>
      prometheus.number(
        `ALERTS{alertname="SubmarineAgentDown", instance="127.0.0.1:${leader.tls}", alertstate="pending"}`,
      ),
    )
  })
})
