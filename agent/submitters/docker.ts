import { type ExperimentSpec, ProblemError, type RoleSpec } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { add, lacking, nothing } from '../cluster/rules/capacity.ts'
import type { NodeRow } from '../cluster/state.ts'
import { amount, runtimeFor } from '../scheduler/fit.ts'
import type { Submitter } from './submitter.ts'

type KnownNode = NodeRow & { allocatable: NonNullable<NodeRow['allocatable']> }

/** The built-in cluster: what is submitted goes into the log, from where planner and nodes take it. */
export function createDockerSubmitter(cluster: Cluster): Submitter {
  return {
    name: 'docker',
    validate(spec) {
      // A node that has not reported yet may turn out to be the one that fits.
      const rows = [...cluster.state().nodes.values()]
      const nodes = rows.filter(isKnown)
      if (!nodes.length || nodes.length < rows.length) return
      for (const [name, role] of Object.entries(spec.roles)) validateRole(nodes, name, role, spec)
      // The tasks of an array wait for each other's places.
      if (!spec.array) validateTotal(nodes, spec)
    },
    submit: (submission, actor) => cluster.propose({ type: 'experiment.create', ...submission }, actor),
    async stop(id, actor) {
      await cluster.propose({ type: 'experiment.stop', id }, actor)
    },
  }
}

const isKnown = (node: NodeRow): node is KnownNode => node.inventory !== null && node.allocatable !== null

function validateRole(nodes: readonly KnownNode[], name: string, role: RoleSpec, spec: ExperimentSpec): void {
  const able = nodes.filter((node) => runtimeFor(node, role) !== undefined)
  if (!able.length && role.image === undefined)
    throw new ProblemError('invalid_spec', undefined, {
      errors: [
        {
          pointer: isPlain(spec) ? '/environment' : `/roles/${name}/environment`,
          message: 'expected {image: …}: no node has an image of its own for commands without one',
        },
      ],
    })
  if (!able.length)
    throw new ProblemError(
      'never_fits',
      `no node has a Docker Engine to run the image ${role.image} of ${name}`,
    )
  if (able.some((node) => !lacking(role.resources, node.allocatable).length)) return
  throw new ProblemError('never_fits', tooLarge(able, name, role))
}

/** Was it written without roles? Then its fields stand at the top. */
const isPlain = ({ roles }: ExperimentSpec) => Object.keys(roles).length === 1 && 'worker' in roles

/** The node that comes nearest: least missing, then most memory. */
function tooLarge(nodes: readonly KnownNode[], name: string, role: RoleSpec): string {
  const missing = (node: KnownNode) => lacking(role.resources, node.allocatable)
  const [largest] = nodes.toSorted(
    (a, b) => missing(a).length - missing(b).length || b.allocatable.memory - a.allocatable.memory,
  )
  if (!largest) return `no node could run a task of ${name}`
  const parts = missing(largest).map(
    (kind) => `${amount(kind, role.resources)} asked, ${amount(kind, largest.allocatable)} there`,
  )
  return `no node could ever run a task of ${name}: the largest, ${largest.name}, has too little: ${parts.join('; ')}`
}

/** A gang starts together, so all of it must fit at once into all nodes at their emptiest. */
function validateTotal(nodes: readonly KnownNode[], spec: ExperimentSpec): void {
  const have = nodes.reduce((sum, node) => add(sum, node.allocatable), nothing)
  let asked = nothing
  let tasks = 0
  for (const { replicas, resources } of Object.values(spec.roles)) {
    tasks += replicas
    for (let each = 0; each < replicas; each++) asked = add(asked, resources)
  }
  const short = lacking(asked, have)
  if (!short.length) return
  const parts = short.map((kind) => `${amount(kind, asked)} asked, ${amount(kind, have)} there`)
  throw new ProblemError(
    'never_fits',
    `the ${tasks} tasks start together, and all nodes together have not enough: ${parts.join('; ')}`,
  )
}
