import { misused, readArguments } from '../test/setup/arguments.ts'
import { compare } from './raft/compare.ts'
import { images } from './images.ts'
import { placements, usualPlacements } from './placements/placements.ts'
import { people, usualPeople } from './people.ts'
import { report } from './report.ts'
import { schedule, usualSchedule } from './schedule.ts'
import { compareStarts } from './start/compare.ts'
import { soak } from './soak.ts'

const usage = `Usage: npm run bench -- NAME [options]

  raft --vs etcd [--quick] [--json FILE] [--only TEXT]   the Raft library beside etcd, in one run
  images [--megabytes 300] [--rate 10] [--nodes 2]       an image to further nodes over links of so many MB/s, as root on Debian
  start --vs swarm [--quick] [--json FILE] [--only TEXT] three agents beside a Docker Swarm on the same three engines
  schedule [--nodes 1000] [--pending 10000] [--agents 20] [--quick] [--json FILE]
                                                         the planner alone, at 95 % load; then whole agents whose engines pretend
  people [--quick] [--json FILE]                         how long a sign-in takes, and what a permission check costs
  soak [--minutes 60] [--rate 2000] [--json FILE]        steady writes for a long time: memory, log, elections`

async function main(): Promise<number> {
  const { positionals, values } = readArguments(usage, {
    json: { type: 'string' },
    vs: { type: 'string' },
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    pending: { type: 'string', default: String(usualSchedule.pending) },
    minutes: { type: 'string', default: '60' },
    rate: { type: 'string' },
    megabytes: { type: 'string', default: '300' },
    nodes: { type: 'string' },
    agents: { type: 'string', default: String(usualPlacements.agents) },
    'sample-seconds': { type: 'string', default: '60' },
  })
  const json = values.json === undefined ? {} : { json: values.json }
  if (positionals[0] === 'raft') {
    if (values.vs !== undefined && values.vs !== 'etcd')
      misused(`--vs knows etcd only, not ${values.vs}`, usage)
    const only = values.only === undefined ? {} : { only: values.only }
    await report(await compare({ quick: values.quick, ...only }), values.json)
    return 0
  }
  if (positionals[0] === 'images') {
    const rows = await images({
      megabytes: number(values.megabytes, '--megabytes'),
      rate: number(values.rate ?? '10', '--rate'),
      nodes: number(values.nodes ?? '2', '--nodes'),
    })
    await report(rows, values.json)
    return 0
  }
  if (positionals[0] === 'people') {
    const options = values.quick ? { ...usualPeople, signIns: 20, checks: 20_000 } : usualPeople
    await report(await people(options), values.json)
    return 0
  }
  if (positionals[0] === 'start') {
    if (values.vs !== undefined && values.vs !== 'swarm')
      misused(`--vs knows swarm only, not ${values.vs}`, usage)
    const only = values.only === undefined ? {} : { only: values.only }
    await report(await compareStarts({ quick: values.quick, ...only }), values.json, 'swarm')
    return 0
  }
  if (positionals[0] === 'schedule') {
    const size = {
      nodes: number(values.nodes ?? String(usualSchedule.nodes), '--nodes'),
      pending: number(values.pending, '--pending'),
    }
    const agents = number(values.agents, '--agents')
    const rows = schedule({ ...usualSchedule, ...size })
    await report(
      [
        ...rows,
        ...(await placements({ ...usualPlacements, agents, ...(values.quick ? { experiments: 60 } : {}) })),
      ],
      values.json,
    )
    return 0
  }
  if (positionals[0] === 'soak') {
    const { ok } = await soak({
      minutes: number(values.minutes, '--minutes'),
      rate: number(values.rate ?? '2000', '--rate'),
      sampleSeconds: number(values['sample-seconds'], '--sample-seconds'),
      ...json,
    })
    return ok ? 0 : 1
  }
  return misused(positionals[0] ? `There is no bench "${positionals[0]}".` : 'Say which bench.', usage)
}

function number(text: string, name: string): number {
  const n = Number(text)
  if (!(n > 0)) misused(`${name} takes a number above 0, not ${text}`, usage)
  return n
}

process.exitCode = await main()
