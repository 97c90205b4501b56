import { createHash } from 'node:crypto'
import type Docker from 'dockerode'
import { messageOf, statusOf } from './engine.ts'
import { labels, type Owner } from './spec.ts'

/**
 * One network for all on the node, in which nobody reaches anybody; and one for each person whose gangs are here: what
 * works together on one thing has to talk. An engine has addresses for some thirty networks, so not one for each task.
 */
export function networkName({ cluster, node }: Owner, person: string | undefined): string {
  const whose = [cluster, node, ...(person === undefined ? [] : [person])].join('/')
  return `sdc-${createHash('sha256').update(whose).digest('hex').slice(0, 20)}`
}

/**
 * The networks of this agent's tasks. What was found or made is kept, since an engine that is in a Swarm without a leader
 * takes twenty seconds to list its networks, and makes a second one of a name that is asked for twice at once.
 */
export class Networks {
  readonly #owner: Owner
  readonly #known = new Map<string, Promise<string>>()

  constructor(owner: Owner) {
    this.#owner = owner
  }

  /** The network for a task of this person's gang, or for one that is alone; made if it is not there. */
  of(docker: Docker, person: string | undefined): Promise<string> {
    const name = networkName(this.#owner, person)
    const known = this.#known.get(name)
    if (known) return known
    const found = findOrMake(docker, name, this.#owner, person)
    this.#known.set(name, found)
    // The next start tries again.
    found.catch(() => this.#known.delete(name))
    return found
  }

  /** Somebody may have removed them: they are looked for anew. */
  forget(): void {
    this.#known.clear()
  }
}

/** Is that why the engine did not start a container: the network is gone, or there are two of its name? */
export const isAboutNetwork = (error: unknown): boolean =>
  [400, 404].includes(statusOf(error) ?? 0) &&
  /network sdc-\w+ (not found|is ambiguous)/.test(messageOf(error))

async function findOrMake(docker: Docker, name: string, owner: Owner, person: string | undefined) {
  const there = await find(docker, name)
  if (there) return there
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
    const made = await find(docker, name)
    if (made) return made
    // Those of people without work can go.
    if (!/address pool/.test(messageOf(error))) throw error
    await removeUnused(docker, owner)
    await make()
  }
  const made = await find(docker, name)
  if (!made) throw new Error(`the engine does not know the network ${name} that it made`)
  return made
}

/** Its name, if it is there. Of several, which an engine refuses to tell apart, one is left: it keeps those in use. */
async function find(docker: Docker, name: string): Promise<string | undefined> {
  // The engine's filter takes parts of names too.
  const all = (await docker.listNetworks({ filters: { name: [name] } })).filter(({ Name }) => Name === name)
  const others = all.toSorted((a, b) => (a.Created ?? '').localeCompare(b.Created ?? '')).slice(1)
  for (const { Id } of others) await removeIfUnused(docker, Id)
  return all[0]?.Name
}

/** Networks of ours in which there is no container. */
export async function removeUnused(docker: Docker, owner: Owner): Promise<void> {
  const label = [`${labels.cluster}=${owner.cluster}`, `${labels.node}=${owner.node}`]
  for (const { Id } of await docker.listNetworks({ filters: { label } })) await removeIfUnused(docker, Id)
}

async function removeIfUnused(docker: Docker, id: string): Promise<void> {
  await docker
    .getNetwork(id)
    .remove()
    .catch((error: unknown) => {
      // 403: it is in use; 404: it is gone.
      if (statusOf(error) !== 403 && statusOf(error) !== 404 && statusOf(error) !== 409) throw error
    })
}
