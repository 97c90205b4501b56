import type Docker from 'dockerode'
import { eventually } from './agents.ts'
import type { Site } from './site.ts'

/** The site's engines as a Docker Swarm whose three members are all managers. */
export interface Swarm {
  /** Create a service, over HTTP on the engine's socket; resolves when it is accepted. */
  submit(at: number, name: string, command: string, options?: { completions?: number; timeoutMs?: number }): Promise<void>
  remove(at: number, name: string): Promise<void>
  leader(): Promise<number>
  ready(): Promise<void>
} // prettier-ignore

interface SwarmNode {
  readonly ManagerStatus?: { readonly Leader?: boolean; readonly Addr: string; readonly Reachability: string }
  readonly Status: { readonly State: string }
}

export async function formSwarm({ places, image }: Site): Promise<Swarm> {
  const docker = (at: number) => places[at]?.engine.docker as Docker
  const address = (at: number) => `${places[at]?.host.address}:2377`
  await docker(0).swarmInit({ ListenAddr: address(0), AdvertiseAddr: address(0) })
  const { JoinTokens } = (await docker(0).swarmInspect()) as { JoinTokens: { Manager: string } }
  for (const at of [1, 2])
    await docker(at).swarmJoin({ ListenAddr: address(at), AdvertiseAddr: address(at), RemoteAddrs: [address(0)], JoinToken: JoinTokens.Manager }) // prettier-ignore
  const nodes = async (at: number) => (await docker(at).listNodes()) as unknown as SwarmNode[]
  const isReady = async () => {
    const all = await nodes(0).catch(() => nodes(1)).catch(() => []) // prettier-ignore
    return all.filter((node) => node.Status.State === 'ready' && node.ManagerStatus?.Reachability === 'reachable').length === 3 // prettier-ignore
  }
  const ready = async () => void (await eventually('the Swarm is whole', isReady))
  await ready()
  return {
    submit: async (at, name, command, { completions, timeoutMs = 30_000 } = {}) => {
      const abortSignal = AbortSignal.timeout(timeoutMs)
      const service = { ...serviceOf(name, image, command, completions), abortSignal }
      await docker(at).createService(service as never).catch((error: { statusCode?: number }) => {
        // Accepted by a call before, whose answer did not come in time.
        if (error.statusCode !== 409) throw error
      }) // prettier-ignore
    },
    remove: async (at, name) => void (await docker(at).getService(name).remove()),
    ready,
    leader: async () => {
      const all = await nodes(0).catch(() => nodes(1))
      const leader = all.find((node) => node.ManagerStatus?.Leader)?.ManagerStatus?.Addr
      return places.findIndex((_, at) => address(at) === leader)
    },
  }
}

/** As our tasks are: the same limits, the default bridge, one container; a job when it is to end. */
function serviceOf(name: string, image: string, command: string, completions: number | undefined) {
  const limits = { NanoCPUs: 1e9, MemoryBytes: 64 * 1024 ** 2 }
  const job = { ReplicatedJob: { MaxConcurrent: 6, TotalCompletions: completions ?? 1 } }
  return {
    Name: name,
    TaskTemplate: {
      ContainerSpec: { Image: image, Command: ['sh', '-c', command], Init: true, StopGracePeriod: 1e9 },
      Resources: { Limits: limits, Reservations: limits },
      ...(completions === undefined ? {} : { RestartPolicy: { Condition: 'none' } }),
    },
    Mode: completions === undefined ? { Replicated: { Replicas: 1 } } : job,
  }
}
