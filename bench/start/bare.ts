import type Docker from 'dockerode'
import type { Site } from './site.ts'

const optionsOf = (image: string, name: string, command: string): Docker.ContainerCreateOptions => ({
  name,
  Image: image,
  Cmd: ['sh', '-c', command],
  HostConfig: { NanoCpus: 1e9, Memory: 64 * 1024 ** 2, Init: true },
})

/** docker create and start, and nothing else. */
export async function startBare(
  { places, image }: Site,
  at: number,
  name: string,
  command: string,
): Promise<Docker.Container> {
  const docker = places[at]?.engine.docker as Docker
  const container = await docker.createContainer(optionsOf(image, name, command))
  await container.start()
  return container
}

/** So many short containers, two at a time on each engine, as nobody's scheduler could do it faster. */
export async function manyBare(site: Site, prefix: string, count: number): Promise<void> {
  let next = 0
  const worker = async (at: number) => {
    while (next < count) {
      const container = await startBare(site, at, `${prefix}-${next++}`, 'true')
      await container.wait()
      await container.remove()
    }
  }
  await Promise.all(site.places.flatMap((_, at) => [worker(at), worker(at)]))
}
