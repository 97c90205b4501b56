import type { Cluster } from '../cluster/cluster.ts'
import { checkFeasible } from '../scheduler/feasible.ts'
import type { Submitter } from './submitter.ts'

/** The built-in cluster: what is submitted goes into the log, from where planner and nodes take it. */
export function createDockerSubmitter(cluster: Cluster): Submitter {
  return {
    name: 'docker',
    validate: (spec, owner) => checkFeasible(cluster.state(), spec, owner),
    submit: (submission, actor) => cluster.propose({ type: 'experiment.create', ...submission }, actor),
    async stop(id, actor) {
      await cluster.propose({ type: 'experiment.stop', id }, actor)
    },
  }
}
