import { createHash } from 'node:crypto'
import type Docker from 'dockerode'
import { gone, messageOf, statusOf } from './engine.ts'
import { labels, type Owner } from './spec.ts'

/**
 * One network for all on the node, in which nobody reaches anybody; and one for each person whose gangs are here: what
 * works together on one thing has to talk. An engine has addresses for some thirty networks, so not one for each task.
 */
export function networkName({ cluster, node }: Owner, person: string | undefined): string {
  const whose = [cluster, node, ...(person === undefined ? [] : [person])].join('/')
  return `sdc-${createHash('sha256').update(whose).digest('hex').slice(0, 20)}`
}

/** The network for a task of this person's gang, or for one that is alone; made if it is not there. */
export async function networkFor(docker: Docker, owner: Owner, person: string | undefined): Promise<string> {
  const name = networkName(owner, person)
  if (await docker.getNetwork(name).inspect().catch(gone)) return name
  const make = () =>
    docker.createNetwork({
      Name: name,
      CheckDuplicate: true,
      Driver: 'bridge',
      Labels: { [labels.cluster]: owner.cluster, [labels.node]: owner.node },
      Options: { 'com.docker.network.bridge.enable_icc': String(person !== undefined) },
    })
  try {
    await make()
  } catch (error) {
    // Another start made it meanwhile.
    if (await docker.getNetwork(name).inspect().catch(gone)) return name
    // Those of people without work can go.
    if (!/address pool/.test(messageOf(error))) throw error
    await removeUnused(docker, owner)
    await make()
  }
  return name
}

/** Networks of ours in which there is no container. */
export async function removeUnused(docker: Docker, owner: Owner): Promise<void> {
  const label = [`${labels.cluster}=${owner.cluster}`, `${labels.node}=${owner.node}`]
  for (const { Id } of await docker.listNetworks({ filters: { label } }))
    await docker
      .getNetwork(Id)
      .remove()
      .catch((error: unknown) => {
        // 403: it is in use; 404: it is gone.
        if (statusOf(error) !== 403 && statusOf(error) !== 404 && statusOf(error) !== 409) throw error
      })
}
