// A container image made of this host's own files, for a host that can reach no registry: a shell, the usual
// small commands, and Python with its standard library (or Node, where the host has no Python).
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { access, lstat, mkdtemp, readdir, readlink, realpath, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import type Docker from 'dockerode'
import { Header, Pax } from 'tar'
import { findNode } from '../../cli/node24.js'

const exec = promisify(execFile)

export const baseImageTag = 'submarine-demo:latest'
const languageLabel = 'submarine.language'

export type Language = 'python' | 'node'

export interface BaseImage {
  tag: string
  language: Language
}

/** What an image holds at a path. Files are read when they are packed. */
type Entry =
  | { type: 'Directory'; mode: number }
  | { type: 'SymbolicLink'; target: string }
  | { type: 'File'; mode: number; source: string }
  | { type: 'Text'; mode: number; text: string }

const commands = [
  ...[
    'sh',
    'bash',
    'env',
    'cat',
    'cp',
    'cut',
    'date',
    'dd',
    'df',
    'du',
    'echo',
    'expr',
    'false',
    'find',
    'grep',
  ],
  ...[
    'head',
    'hostname',
    'id',
    'kill',
    'ln',
    'ls',
    'md5sum',
    'mkdir',
    'mkfifo',
    'mktemp',
    'mv',
    'nproc',
    'printf',
  ],
  ...[
    'ps',
    'pwd',
    'readlink',
    'rm',
    'rmdir',
    'sed',
    'seq',
    'sha256sum',
    'sleep',
    'sort',
    'stat',
    'stty',
    'sync',
  ],
  ...[
    'tail',
    'tar',
    'tee',
    'test',
    'timeout',
    'touch',
    'tr',
    'true',
    'uname',
    'uniq',
    'wc',
    'whoami',
    'xargs',
    'yes',
  ],
]

/** Loaded by libc on demand, so that ldd does not name them. */
const libcCompanions = ['libgcc_s.so.1', 'libnss_dns.so.2', 'libnss_files.so.2', 'libresolv.so.2']

/** Parts of Python's standard library that no job on a cluster uses, and files made again at need. */
const pythonLeftOut =
  /^(__pycache__|tests?|idlelib|tkinter|turtledemo|turtle\.py|ensurepip|lib2to3|pydoc_data|site-packages|dist-packages|config-.*|_test.*\.so|_ctypes_test.*|_tkinter.*|.*\.a)$/

const etc: Record<string, string> = {
  '/etc/passwd':
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\nsubmarine:x:1000:1000::/tmp:/bin/sh\n',
  '/etc/group': 'root:x:0:\nnogroup:x:65534:\nsubmarine:x:1000:\n',
  '/etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
}

/** Writes the image as a file for `docker load`: with Python, unless the host has none or Node is asked for. */
export async function buildBaseImage(options: {
  out: string
  language?: 'node'
}): Promise<BaseImage & { path: string }> {
  const { out } = options
  if (process.platform !== 'linux') throw new Error('A base image can be made on Linux only.')
  const { entries, language } = await collect(options.language)
  const layer = `${out}.layer`
  try {
    const digest = await writeLayer(entries, layer)
    await pipeline(Readable.from(imageArchive({ layer, digest, language })), createWriteStream(out))
  } finally {
    await rm(layer, { force: true })
  }
  return { path: out, tag: baseImageTag, language }
}

/** The base image in this engine, built and loaded where it is not there yet. */
export async function loadBaseImage(docker: Docker): Promise<BaseImage & { id: string }> {
  const present = await inspectBaseImage(docker)
  if (present) return present
  const folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-image-'))
  try {
    const image = await buildBaseImage({ out: path.join(folder, 'image.tar') })
    const progress = await docker.loadImage(createReadStream(image.path))
    await new Promise<void>((resolve, reject) => {
      docker.modem.followProgress(progress, (error) => (error ? reject(error) : resolve()))
    })
  } finally {
    await rm(folder, { recursive: true })
  }
  const loaded = await inspectBaseImage(docker)
  if (!loaded) throw new Error(`Docker took the base image but does not list ${baseImageTag}.`)
  return loaded
}

async function inspectBaseImage(docker: Docker) {
  try {
    const { Id, Config } = await docker.getImage(baseImageTag).inspect()
    const language: Language = Config.Labels?.[languageLabel] === 'node' ? 'node' : 'python'
    return { id: Id, tag: baseImageTag, language }
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return undefined
    throw error
  }
}

async function collect(wanted: Language | undefined) {
  const image = new Collection()
  for (const folder of ['/bin', '/sbin', '/lib', '/lib64', '/usr/bin', '/usr/sbin', '/usr/lib'])
    await image.addFolder(folder)
  for (const folder of ['/etc', '/root', '/proc', '/sys', '/dev', '/run', '/var', '/output', '/workspace']) {
    image.set(folder, { type: 'Directory', mode: 0o755 })
  }
  for (const folder of ['/tmp', '/var/tmp']) image.set(folder, { type: 'Directory', mode: 0o1777 })
  for (const [file, text] of Object.entries(etc)) image.set(file, { type: 'Text', mode: 0o644, text })
  // Tells the loader of the folders that this host keeps libraries in.
  if (await exists('/etc/ld.so.cache')) await image.add('/etc/ld.so.cache')

  for (const command of commands) {
    const file = await findCommand(command)
    if (file) await image.add(file)
  }
  const language = wanted !== 'node' && (await addPython(image)) ? 'python' : 'node'
  if (language === 'node') await addNode(image)
  await addLibraries(image)
  return { entries: image.entries, language } as const
}

/** Paths of this host gathered for the image, where they lie at the same place. */
class Collection {
  readonly entries = new Map<string, Entry>()

  set(at: string, entry: Entry) {
    this.entries.set(at, entry)
  }

  /** A folder as it is here: on a merged /usr, /bin is a link. */
  async addFolder(folder: string) {
    if (!(await exists(folder))) return
    const link = (await lstat(folder)).isSymbolicLink()
    this.set(
      folder,
      link ? { type: 'SymbolicLink', target: await readlink(folder) } : { type: 'Directory', mode: 0o755 },
    )
  }

  /** A file under its own name; where that is a link, the link and the file at its end. */
  async add(file: string) {
    const at = path.join(await realpath(path.dirname(file)), path.basename(file))
    const end = await realpath(file)
    if (at !== end) this.set(at, { type: 'SymbolicLink', target: end })
    if (this.entries.has(end)) return
    const { mode } = await stat(end)
    this.set(end, { type: 'File', mode: mode & 0o111 ? 0o755 : 0o644, source: end })
  }

  /** Everything below a folder, but names that match `leftOut`. */
  async addTree(folder: string, leftOut: RegExp) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const full = path.join(folder, entry.name)
      // A dangling link has nothing to add.
      if (leftOut.test(entry.name) || !(await exists(full))) continue
      if ((await stat(full)).isDirectory()) await this.addTree(full, leftOut)
      else await this.add(full)
    }
  }
}

/** The running parts of this host's Python, wherever it is installed; false where there is none. */
async function addPython(image: Collection) {
  const script =
    'import json, sys, sysconfig; p = sysconfig.get_path; ' +
    'print(json.dumps([sys._base_executable, p("stdlib"), p("platstdlib")]))'
  for (const python of ['python3', '/usr/bin/python3']) {
    const found = await exec(python, ['-I', '-c', script]).catch(() => undefined)
    if (!found) continue
    const [executable, ...libraries] = JSON.parse(found.stdout) as [string, string, string]
    await image.add(executable)
    for (const library of new Set(libraries)) await image.addTree(library, pythonLeftOut)
    const target = await realpath(executable)
    for (const name of ['python3', 'python']) {
      const at = path.join(await realpath('/usr/bin'), name)
      if (at !== target) image.set(at, { type: 'SymbolicLink', target })
    }
    return true
  }
  return false
}

async function addNode(image: Collection) {
  image.set(path.join(await realpath('/usr/bin'), 'node'), { type: 'File', mode: 0o755, source: findNode() })
}

/** The shared libraries that the programs gathered so far ask for, and what libc loads by itself. */
async function addLibraries(image: Collection) {
  const programs: string[] = []
  for (const [, entry] of image.entries) {
    if (entry.type === 'File' && (entry.mode === 0o755 || entry.source.includes('.so')))
      programs.push(entry.source)
  }
  // ldd ends non-zero when one of many is a script; what it says of the others still counts.
  const { stdout } = await exec('ldd', programs, { maxBuffer: 2 ** 26 }).catch(
    (error: { stdout?: string }) => ({
      stdout: error.stdout ?? '',
    }),
  )
  const libraries = new Set(
    Array.from(stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm), (match) => match[1] ?? ''),
  )
  if (libraries.size === 0)
    throw new Error('ldd named no libraries: a base image cannot be made on this host.')
  for (const library of libraries) await image.add(library)
  const libc = [...libraries].find((library) => /\/libc\.so/.test(library))
  for (const name of libcCompanions) {
    const companion = path.join(path.dirname(libc ?? '/lib/libc.so'), name)
    if (await exists(companion)) await image.add(companion)
  }
}

async function findCommand(name: string) {
  for (const folder of ['/usr/bin', '/bin', '/usr/sbin', '/sbin']) {
    const file = path.join(folder, name)
    if (await exists(file)) return file
  }
  return undefined
}

async function exists(file: string) {
  return access(file).then(
    () => true,
    () => false,
  )
}

/** Packs the entries in a fixed order and without dates, so that the same files make the same image. */
async function writeLayer(entries: Map<string, Entry>, file: string) {
  const hash = createHash('sha256')
  async function* blocks() {
    for (const at of [...parents(entries), ...entries.keys()].sort()) {
      for await (const block of packed(at.slice(1), entries.get(at) ?? { type: 'Directory', mode: 0o755 })) {
        hash.update(block)
        yield block
      }
    }
    const end = Buffer.alloc(1024)
    hash.update(end)
    yield end
  }
  await pipeline(Readable.from(blocks()), createWriteStream(file))
  return `sha256:${hash.digest('hex')}`
}

/** The folders that entries lie in without being entries themselves. */
function parents(entries: Map<string, Entry>) {
  const found = new Set<string>()
  for (const at of entries.keys()) {
    for (let up = path.dirname(at); up !== '/' && !entries.has(up); up = path.dirname(up)) found.add(up)
  }
  return found
}

/** What `docker load` reads: the layer, its configuration and a manifest. */
async function* imageArchive({
  layer,
  digest,
  language,
}: {
  layer: string
  digest: string
  language: Language
}) {
  const config = JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {
      Env: ['PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', 'LANG=C.UTF-8'],
      Cmd: ['/bin/sh'],
      Labels: { [languageLabel]: language },
    },
    rootfs: { type: 'layers', diff_ids: [digest] },
  })
  const manifest = [{ Config: 'config.json', RepoTags: [baseImageTag], Layers: ['layer.tar'] }]
  yield* packed('config.json', { type: 'Text', mode: 0o644, text: config })
  yield* packed('manifest.json', { type: 'Text', mode: 0o644, text: JSON.stringify(manifest) })
  yield* packed('layer.tar', { type: 'File', mode: 0o644, source: layer })
  yield Buffer.alloc(1024)
}

/** One entry as tar holds it: header, content, padding to full blocks. */
async function* packed(name: string, entry: Entry): AsyncGenerator<Buffer> {
  const content = entry.type === 'Text' ? Buffer.from(entry.text) : undefined
  const size = entry.type === 'File' ? (await stat(entry.source)).size : (content?.length ?? 0)
  const header = new Header({
    path: name,
    type: entry.type === 'Text' ? 'File' : entry.type,
    mode: entry.type === 'SymbolicLink' ? 0o777 : entry.mode,
    linkpath: entry.type === 'SymbolicLink' ? entry.target : undefined,
    size,
    uid: 0,
    gid: 0,
    mtime: new Date(0),
  })
  // A name or target too long for the plain header goes into an extended one before it.
  if (header.encode()) yield new Pax({ path: name, linkpath: header.linkpath }).encode()
  yield header.block ?? Buffer.alloc(0)
  if (entry.type === 'File')
    yield* createReadStream(entry.source, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>
  else if (content) yield content
  yield Buffer.alloc((512 - (size % 512)) % 512)
}
