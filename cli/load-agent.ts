import type { AgentModule } from './agent-module.ts'

/** The agent's own code. By URL, so that the rest of the command line neither loads nor depends on it. */
export const loadAgent = async (): Promise<AgentModule> =>
  (await import(new URL('../agent/main.ts', import.meta.url).href)) as AgentModule
