/** Stands for cli/load-agent.ts in the bundle: a file of its own, read only when the agent is asked for. */
export const loadAgent = () => import('../../../agent/main.ts')
