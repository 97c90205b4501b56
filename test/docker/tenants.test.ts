// What containers of different people may do to the host and to each other, on a real engine.
import { execFile } from 'node:child_process'
import { lstat, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DockerEngine } from '../../agent/node/docker/engine.ts'
import { networkName, removeUnused } from '../../agent/node/docker/network.ts'
import { DockerRuntime } from '../../agent/node/docker/runtime.ts'
import type { Found, Launch } from '../../agent/node/runtime.ts'
import { collect } from '../../agent/node/task/collect.ts'
import { DoubleBlobs } from '../../agent/node/doubles.ts'
import { baseImageTag, loadBaseImage } from '../../resources/demo/base-image.ts'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'
import { type Lan, startLan } from './lan.ts'

const exec = promisify(execFile)
const MiB = 1024 ** 2
const never = new AbortController().signal
const owner = { cluster: 'cluster-1', node: 'node-1' }
const [ana, ben] = [{ name: 'ana', uid: 20_007 }, { name: 'ben', uid: 20_008 }] as const // prettier-ignore

describe('containers of several people', needs.engine, () => {
  let root: string
  let lan: Lan
  let engine: Engine
  let runtime: DockerRuntime
  let number = 0

  beforeAll(async () => {
    root = await mkdtemp('/tmp/ten-')
    // On a host of its own the engine sets up its firewall as it does everywhere.
    lan = await startLan(1)
    const [host] = lan.hosts
    engine = await startEngine({ root: path.join(root, 'e'), ...(host ? { host } : {}) })
    await loadBaseImage(engine.docker)
    runtime = new DockerRuntime({
      engine: new DockerEngine(engine.socket),
      owner,
      defaultImage: baseImageTag,
    })
  })
  afterAll(async () => {
    await engine?.stop()
    await lan?.stop()
    await rm(root, { recursive: true, force: true })
  })
  beforeEach(() => void number++)
  afterEach(async () => {
    for (const { Id } of await engine.docker.listContainers({ all: true }))
      await engine.docker.getContainer(Id).remove({ force: true })
  })

  let made = 0
  async function launch(script: string, change: Partial<Launch> = {}): Promise<Launch> {
    const folder = path.join(root, `attempt-${++made}`)
    for (const name of ['code', 'output', 'own']) await mkdir(path.join(folder, name), { recursive: true })
    return {
      task: `exp-${made}-worker-0`,
      attempt: 1,
      workload: `exp-${made}`,
      image: null,
      command: ['sh', '-c', script],
      env: {},
      resources: { cpu: 0.5, memory: 64 * MiB, gpu: 0, disk: 0 },
      gpus: [],
      person: ana,
      asks: {},
      codeFolder: path.join(folder, 'code'),
      outputFolder: path.join(folder, 'output'),
      ownFolder: path.join(folder, 'own'),
      caFile: null,
      ...change,
    }
  }

  const linesOf = async (found: Found) =>
    (await Array.fromAsync(runtime.log(found, null, never))).map(({ l }) => l)
  async function told(script: string, change: Partial<Launch> = {}): Promise<string[]> {
    const found = await runtime.start(await launch(script, change))
    await runtime.wait(found, never)
    return linesOf(found)
  }

  test('run as their owner, who has a name, a home and no way to more', async () => {
    const asked = await launch(
      [
        'id -u; id -g; whoami; pwd',
        'echo x > "$HOME/file" && stat -c "%U %a" "$HOME"',
        'grep -E "^(CapEff|CapBnd|CapPrm|NoNewPrivs)" /proc/self/status | tr -d "\\t"',
        'touch /etc/owned 2>/dev/null || echo "not the image"',
        'kill -0 1 2>/dev/null; ls /dev | grep -cE "^(sd|nvme|vd|mem|kmsg)"',
        'cat model.txt; echo result > /output/result; umask 077; echo own > /output/own',
      ].join('; '),
    )
    await writeFile(path.join(asked.codeFolder, 'model.txt'), 'code\n', { mode: 0o600 })
    const found = await runtime.start(asked)
    expect((await runtime.wait(found, never)).exitCode).toBe(0)
    expect(await linesOf(found)).toEqual([
      '20007',
      '20007',
      'u20007',
      '/code',
      'u20007 700',
      'CapPrm:0000000000000000',
      'CapEff:0000000000000000',
      'CapBnd:0000000000000000',
      'NoNewPrivs:1',
      'not the image',
      '0',
      'code',
    ])
    for (const folder of [asked.codeFolder, asked.outputFolder]) {
      const { uid, gid, mode } = await stat(folder)
      expect([uid, gid, mode & 0o777]).toEqual([20_007, 20_007, 0o700])
    }
    const blobs = new DoubleBlobs()
    const { kept, notes } = await collect(asked.outputFolder, {
      blobs,
      node: 'node-1',
      draft: path.join(root, 'draft'),
      patienceMs: 1000,
      signal: never,
    })
    expect([kept.files, notes]).toEqual([2, []])
  })

  test('an image without a list of users runs as its owner too', async () => {
    const container = await engine.docker.createContainer({
      Image: baseImageTag,
      Cmd: ['rm', '/etc/passwd', '/etc/group'],
      User: '0',
    })
    await container.start()
    await container.wait()
    await container.commit({ repo: 'nobody-known' })
    expect(await told('whoami', { image: 'nobody-known:latest' })).toEqual(['u20007'])
    await container.remove({ force: true })
    await engine.docker.getImage('nobody-known:latest').remove({ force: true })
  })

  test('root, where it was granted, is root of the container and no more', async () => {
    const script =
      'id -u; echo x > /etc/owned && echo written; grep CapBnd /proc/self/status | cut -f 2; mount -t tmpfs x /mnt 2>/dev/null || mknod /tmp/sda b 8 0 2>/dev/null || echo no way; echo r > /output/file'
    const lines = await told(script, { asks: { user: 'root' } })
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
    expect(lines).toEqual(['0', 'written', '00000000000004fb', 'no way'])
  })

  test('cannot start more processes than the limit', async () => {
    const found = await runtime.start(await launch('true'))
    const { HostConfig } = await engine.docker.getContainer(found.handle).inspect()
    expect(HostConfig.PidsLimit).toBe(16_384)
    expect(HostConfig.PidMode).toBe('')
    expect(HostConfig.IpcMode).not.toBe('host')
    expect(HostConfig.UsernsMode).not.toBe('host')
  })

  test('a folder of the host is seen where it was granted, and a link in its place is not followed', async () => {
    const shared = path.join(root, 'shared')
    await mkdir(shared, { recursive: true })
    await writeFile(path.join(shared, 'data'), 'of the lab\n')
    const mount = { path: shared, target: '/mnt/data', read_only: true }
    const script = 'cat /mnt/data/data; echo x > /mnt/data/data || echo read-only'
    expect(await told(`{ ${script}; } 2>&1`, { asks: { mounts: [mount] } })).toEqual([
      'of the lab',
      expect.stringMatching(/Read-only file system/) as string,
      'read-only',
    ])
    const link = path.join(root, 'link')
    await symlink('/etc', link)
    const starting = runtime.start(await launch('true', { asks: { mounts: [{ ...mount, path: link }] } }))
    await expect(starting).rejects.toMatchObject({ code: 'grant_missing' })
    const disk = runtime.start(await launch('true', { asks: { devices: ['/dev/not-there'] } }))
    await expect(disk).rejects.toMatchObject({ code: 'grant_missing' })
  })

  test('links that lead out of a workspace are neither changed nor kept', async () => {
    const secret = path.join(root, 'secret')
    await writeFile(secret, 'of somebody else', { mode: 0o600 })
    const asked = await launch(
      `ln -s ${secret} /output/link; ln -s /etc/shadow /output/shadow; ln -s ${root} /output/folder; echo x > /output/own`,
    )
    // An earlier attempt may have left one in what the next one is given.
    await symlink(secret, path.join(asked.outputFolder, 'before'))
    await symlink(root, path.join(asked.codeFolder, 'folder'))
    const found = await runtime.start(asked)
    await runtime.wait(found, never)
    expect((await stat(secret)).uid).toBe(0)
    expect((await stat(root)).uid).toBe(0)
    expect((await lstat(path.join(asked.outputFolder, 'before'))).uid).toBe(20_007)
    const blobs = new DoubleBlobs()
    const options = { blobs, node: 'node-1', draft: path.join(root, 'draft'), patienceMs: 1000 }
    const { kept, notes } = await collect(asked.outputFolder, { ...options, signal: never })
    expect(kept.files).toBe(1)
    expect(notes).toHaveLength(4)
    expect(await readFile(secret, 'utf8')).toBe('of somebody else')
  })

  test('a secret that is a file is in memory and in no word that the engine tells', async () => {
    const folder = await mkdtemp('/dev/shm/ten-')
    await writeFile(path.join(folder, 's3'), 'hunter2-of-ana', { mode: 0o444 })
    const asked = await launch('cat /run/secrets/s3; echo; echo x 2>/dev/null > /run/secrets/s3 || echo kept')
    const found = await runtime.start({ ...asked, secrets: { env: {}, folder } })
    await runtime.wait(found, never)
    const told = JSON.stringify(await engine.docker.getContainer(found.handle).inspect())
    const { uid, mode } = await stat(folder)
    await rm(folder, { recursive: true, force: true })
    expect((await linesOf(found)).filter((line) => !line.includes('Read-only'))).toEqual([
      'hunter2-of-ana',
      'kept',
    ])
    expect(told).not.toContain('hunter2')
    expect([uid, mode & 0o777]).toEqual([20_007, 0o700])
  })

  test('GPUs of others cannot be had by variables, and the socket of the engine is not there', async () => {
    const env = { NVIDIA_VISIBLE_DEVICES: 'all', nvidia_visible_devices: 'all', CUDA_VISIBLE_DEVICES: '0' }
    const lines = await told(
      'echo "$NVIDIA_VISIBLE_DEVICES/$CUDA_VISIBLE_DEVICES/$nvidia_visible_devices"; ls /dev | grep -c nvidia; ls /var/run/docker.sock /run/docker.sock 2>/dev/null | wc -l',
      { env },
    )
    expect(lines).toEqual(['void//', '0', '0'])
  })

  test('a gang’s tasks reach each other, and nobody else reaches them or those who are alone', async () => {
    const command = ['python3', '-m', 'http.server', '8000', '--directory', '/output']
    const serve = async (gang: boolean) => {
      const asked = await launch('', { command, gang })
      await writeFile(path.join(asked.outputFolder, 'file'), 'of ana')
      const { handle } = await runtime.start(asked)
      const { NetworkSettings } = await engine.docker.getContainer(handle).inspect()
      return NetworkSettings.Networks[networkName(owner, gang ? 'ana' : undefined)]?.IPAddress ?? ''
    }
    const ask = (address: string, tries: number) => [
      'python3',
      '-c',
      `import urllib.request as u, time
for n in range(${tries}):
    try:
        print(u.urlopen("http://${address}:8000/file", timeout=2).read().decode()); break
    except OSError as e:
        last = type(getattr(e, "reason", e)).__name__; time.sleep(0.2)
else: print(last)`,
    ]
    const inGang = await serve(true)
    expect(await told('', { command: ask(inGang, 50), gang: true })).toEqual(['of ana'])
    // It answers by now, so whoever gets nothing gets nothing because of who they are.
    const nothing = [expect.stringMatching(/timeout|Timeout|OSError/)]
    expect(await told('', { command: ask(inGang, 1), gang: true, person: ben })).toEqual(nothing)
    expect(await told('', { command: ask(inGang, 1), person: ben })).toEqual(nothing)
    expect(await told('', { command: ask(inGang, 2), gang: true })).toEqual(['of ana'])
    // The same network, and yet not within reach; of itself it is.
    const alone = await serve(false)
    expect(alone).toMatch(/^\d+\./)
    const [{ Id: own } = { Id: '' }] = await engine.docker.listContainers()
    const exec = await engine.docker.getContainer(own).exec({ Cmd: ask('127.0.0.1', 50), AttachStdout: true })
    const said = await text(await exec.start({}))
    expect(said).toContain('of ana')
    expect(await told('', { command: ask(alone, 1), person: ben })).toEqual(nothing)
  })

  test('networks of people without work can be taken back, and are made again', async () => {
    await told('true', { person: ben })
    const networks = async () =>
      (await engine.docker.listNetworks({ filters: { label: ['submarine.node=node-1'] } })).length
    expect(await networks()).toBeGreaterThan(0)
    for (const { Id } of await engine.docker.listContainers({ all: true }))
      await engine.docker.getContainer(Id).remove({ force: true })
    await removeUnused(engine.docker, owner)
    expect(await networks()).toBe(0)
    expect(await told('echo again', { person: ben })).toEqual(['again'])
  })

  test('the engine’s firewall is the one that keeps them apart', async () => {
    const [host] = lan.hosts
    const [command = '', ...args] = host?.command(['iptables', '-S', 'FORWARD']) ?? []
    const { stdout } = await exec(command, args)
    expect(stdout).toContain('DOCKER-ISOLATION-STAGE-1')
  })
})
