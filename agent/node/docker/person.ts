import { hash } from 'node:crypto'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import type Docker from 'dockerode'
import { Parser } from 'tar'
import type { Person } from '../runtime.ts'
import { gone, statusOf } from './engine.ts'
import type { Owner } from './spec.ts'

/** The name under which the container knows its user: what an image calls its own people cannot be in its way. */
const accountOf = ({ uid }: Person) => `u${uid}`
export const homeOf = (person: Person): string => `/home/${accountOf(person)}`

/** What programs are told of their user; the experiment's own words go before. */
export const personEnvironment = (person: Person): Record<string, string> => ({
  HOME: homeOf(person),
  USER: accountOf(person),
})

/** The container's own list of users, with this one in it once. */
export function withPerson(passwd: string, person: Person): string {
  const shown = person.name.replaceAll(/[^\w.@ -]/g, '_')
  const line = `${accountOf(person)}:x:${person.uid}:${person.uid}:${shown}:${homeOf(person)}:/bin/sh`
  return withLine(passwd, person.uid, line)
}

export const withGroup = (group: string, person: Person): string =>
  withLine(group, person.uid, `${accountOf(person)}:x:${person.uid}:`)

/** Both files have the id in the third column. */
function withLine(file: string, id: number, line: string): string {
  const others = file.split('\n').filter((each) => each !== '' && each.split(':')[2] !== String(id))
  return [...others, line, ''].join('\n')
}

/** Users and groups that an image knows itself. */
export interface ImageNames {
  readonly passwd: string
  readonly group: string
}

/** What is shown to the container of its person: parts of the attempt's own folder. */
export const personFiles = (ownFolder: string) => ({
  home: path.join(ownFolder, 'home'),
  passwd: path.join(ownFolder, 'passwd'),
  group: path.join(ownFolder, 'group'),
})

/**
 * A home that the person can write to, and lists of users and groups in which they are: programs ask who they are.
 * Shown to the container, not written into it, which would take the engine far longer.
 */
export async function makePerson(ownFolder: string, person: Person, names: ImageNames): Promise<void> {
  const { home, passwd, group } = personFiles(ownFolder)
  await mkdir(home, { recursive: true })
  // Where the folder cannot be given to the person; nobody but the agent passes above it.
  await chmod(home, 0o777)
  for (const [file, text] of [[passwd, withPerson(names.passwd, person)], [group, withGroup(names.group, person)]] as const) {
    await writeFile(file, text)
    await chmod(file, 0o644)
  } // prettier-ignore
}

/** Reads an image's names from a container that is made for it and never started; once for each image. */
export class NamesOfImages {
  readonly #known = new Map<string, Promise<ImageNames>>()

  of(docker: Docker, image: string, owner: Owner): Promise<ImageNames> {
    const known = this.#known.get(image)
    if (known) return known
    const reading = readNames(docker, image, owner)
    this.#known.set(image, reading)
    reading.catch(() => this.#known.delete(image))
    return reading
  }
}

async function readNames(docker: Docker, image: string, { cluster, node }: Owner): Promise<ImageNames> {
  const whose = hash('sha256', `${cluster}/${node}/${image}`).slice(0, 24)
  const name = `sdc-names-${whose}`
  const make = () => docker.createContainer({ name, Image: image, Cmd: ['none'], Entrypoint: [] })
  const container = await make().catch(async (error: unknown) => {
    if (statusOf(error) !== 409) throw error
    // Left by an agent that was killed.
    await docker.getContainer(name).remove({ force: true }).catch(gone)
    return make()
  })
  try {
    const passwd = await readText(container, '/etc/passwd')
    return { passwd, group: await readText(container, '/etc/group') }
  } finally {
    await container.remove({ force: true }).catch(gone)
  }
}

const mostText = 1 << 20

/** A file of a container; empty where there is none, or none that is a small file. */
async function readText(container: Docker.Container, file: string): Promise<string> {
  let archive: NodeJS.ReadableStream
  try {
    archive = await container.getArchive({ path: file })
  } catch (error) {
    if (statusOf(error) === 404) return ''
    throw error
  }
  let found = ''
  const parser = new Parser({ filter: (_path, of) => 'size' in of && (of.size ?? 0) <= mostText })
  const reading: Promise<void>[] = []
  parser.on('entry', (one) => {
    reading.push(text(one as unknown as NodeJS.ReadableStream).then((read) => void (found ||= read)))
  })
  for await (const chunk of archive) parser.write(chunk as Buffer)
  parser.end()
  await Promise.all(reading)
  return found
}
