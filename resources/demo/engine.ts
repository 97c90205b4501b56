import { readFile } from 'node:fs/promises'
import path from 'node:path'
import Docker from 'dockerode'
import { type Language, loadBaseImage } from './base-image.ts'

export interface Engine {
  readonly docker: Docker
  readonly socket: string
  readonly version: string
  /** Image the demo's tasks run in, made of this host's own files, and what it can run. */
  readonly image: string
  readonly language: Language
}

/** The Docker Engine of this machine with the demo's image in it, or undefined when none answers. */
export async function findEngine(): Promise<Engine | undefined> {
  const host = process.env['DOCKER_HOST']
  if (host && !host.startsWith('unix://')) return undefined
  const socket = host?.slice('unix://'.length) ?? '/var/run/docker.sock'
  const docker = new Docker({ socketPath: socket })
  try {
    const { Version } = await docker.version()
    const { tag, language } = await loadBaseImage(docker)
    return { docker, socket, version: Version, image: tag, language }
  } catch (error) {
    if (['ENOENT', 'ECONNREFUSED', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined
    throw error
  }
}

/** Remove the containers of the cluster whose data is in this folder. */
export async function removeContainersOf({ docker }: Engine, data: string): Promise<void> {
  const identity = await readFile(path.join(data, 'sub-1', 'identity.json'), 'utf8').catch(() => undefined)
  if (!identity) return
  const parsed = JSON.parse(identity) as { cluster?: string }
  if (!parsed.cluster) return
  const filters = { label: [`submarine.cluster=${parsed.cluster}`] }
  for (const { Id } of await docker.listContainers({ all: true, filters }))
    await docker.getContainer(Id).remove({ force: true, v: true })
}
