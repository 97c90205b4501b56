import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { ChaosAgent } from './agent.ts'

const run = promisify(execFile)

async function iptables(agent: ChaosAgent, ...args: string[]): Promise<void> {
  const [program = '', ...line] = agent.host.command(['iptables', '-w', ...args])
  await run(program, line)
}

/** Nothing from `from` arrives at `to`. Packets are dropped, not refused: nobody is told. */
export const cut = (from: ChaosAgent, to: ChaosAgent): Promise<void> =>
  iptables(to, '-A', 'INPUT', '-s', from.host.address, '-j', 'DROP')

export async function reconnect(agents: readonly ChaosAgent[]): Promise<void> {
  await Promise.all(agents.map((agent) => iptables(agent, '-F', 'INPUT')))
}
