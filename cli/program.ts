import { Command } from 'commander'
import { agentVerbs } from './verbs/agent.ts'
import { auditVerbs } from './verbs/audit.ts'
import { bundleVerbs } from './verbs/bundle.ts'
import { clusterVerbs, eventVerbs, nodeVerbs } from './verbs/cluster.ts'
import { completionVerb } from './verbs/completion.ts'
import { experimentVerbs } from './verbs/experiment.ts'
import { identityProviderVerbs } from './verbs/identity-provider.ts'
import { imageVerbs } from './verbs/image.ts'
import { loginVerbs } from './verbs/login.ts'
import { meVerbs } from './verbs/me.ts'
import { kerberosVerbs } from './verbs/kerberos.ts'
import { policyVerbs } from './verbs/policy.ts'
import { secretVerbs } from './verbs/secret.ts'
import { registryVerbs } from './verbs/registry.ts'
import { queueVerbs, quotaVerbs, reservationVerbs } from './verbs/order.ts'
import { teamVerbs } from './verbs/team.ts'
import { tokenVerbs } from './verbs/token.ts'
import { userVerbs } from './verbs/user.ts'
import { runVerb } from './verbs/run.ts'
import { usageVerbs } from './verbs/usage.ts'
import type { Tool } from './tool.ts'

const help = `
Exit codes: 0 done, 1 failed, 2 wrong usage or spec, 3 not found, 4 not signed in or not allowed, 5 conflict,
6 no agent reachable, 124 wait timed out, 130 interrupted. \`run\` and \`submit --wait\` end with the task's own code.

Environment: SUBMARINE_ADDRESS, SUBMARINE_TOKEN, SUBMARINE_CA stand in for a sign-in; SUBMARINE_CONFIG names the file
that keeps sign-ins; NO_COLOR switches colour off. SUBMARINE_PATIENCE_SECONDS: how long an
agent or a leader is waited for (default: 15; where something is followed to its end, 300).`

/** The whole command tree; completion and help are made from it. */
export function createProgram(tool: Tool, version: string): Command {
  const program = new Command('submarine')
    .description('experiments, notebooks and models on a cluster of your own hosts')
    .version(version)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: tool.terminal.out, writeErr: tool.terminal.err })
    .addHelpText('after', help)
  loginVerbs(program, tool)
  meVerbs(program, tool)
  runVerb(program, tool)
  experimentVerbs(program, tool)
  nodeVerbs(program, tool)
  imageVerbs(program, tool)
  registryVerbs(program, tool)
  policyVerbs(program, tool)
  kerberosVerbs(program, tool)
  secretVerbs(program, tool)
  queueVerbs(program, tool)
  quotaVerbs(program, tool)
  reservationVerbs(program, tool)
  usageVerbs(program, tool)
  userVerbs(program, tool)
  teamVerbs(program, tool)
  tokenVerbs(program, tool)
  identityProviderVerbs(program, tool)
  clusterVerbs(program, tool)
  eventVerbs(program, tool)
  auditVerbs(program, tool)
  agentVerbs(program, tool)
  bundleVerbs(program, tool)
  completionVerb(program, tool)
  return program
}
