import manifest from '../package.json' with { type: 'json' }

/** Version of this agent, as in package.json. */
export const agentVersion: string = manifest.version
