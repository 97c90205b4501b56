import { hash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadBaseImage } from '../../resources/demo/base-image.ts'
import { eventually, Lab, password } from '../cluster/lab.ts'
import { needs } from '../setup/needs.ts'
import { TestRealm } from '../setup/realm.ts'
import { type Engine, startEngine } from './engine.ts'
import { filesWith, submarine } from './secrets.ts'

describe('agents on a Docker Engine', needs.engine, () => {
  let root: string
  let engine: Engine
  let lab: Lab

  beforeAll(async () => {
    // An engine's sockets need a short path.
    root = await mkdtemp('/tmp/e-')
    engine = await startEngine({ root })
    const { tag } = await loadBaseImage(engine.docker)
    lab = await Lab.start({ docker: { socket: engine.socket, image: tag } })
  })
  afterAll(async () => {
    await lab?.stop()
    await engine?.stop()
    await rm(root, { recursive: true, force: true, maxRetries: 10 })
  })

  const containersOf = (task: string) =>
    engine.docker.listContainers({ all: true, filters: { label: [`submarine.task=${task}`] } })

  it('killed with -9 while a container runs: the same container goes on, the log has no gap, the end is told once', async () => {
    const command =
      'i=1; while [ $i -le 60 ]; do echo $i; i=$((i+1)); sleep 0.1; done; echo done > /output/end.txt; exit 7'
    const { id } = await lab.submit({ name: 'survivor', command, resources: 'cpu=0.5, memory=64Mi' })
    const running = await lab.until(id, ({ state }) => state === 'Running')
    const [task] = running.tasks
    const [before] = await containersOf(task?.id ?? '')
    const agent = lab.agentOf(task?.node ?? null)
    await eventually('some lines', async () => (await lab.logOf(id)).length > 5)
    await agent.kill()
    await agent.start()
    // All agents share the engine; only the one that placed it may touch it.
    const during = await containersOf(task?.id ?? '')
    expect(during.map(({ Id }) => Id)).toEqual([before?.Id])
    const done = await lab.ended(id)
    expect(done).toMatchObject({
      state: 'Failed',
      tasks: [{ attempt: 1, exit_code: 7, runtime: 'docker', isolation: 'container' }],
    })
    expect(await lab.logOf(id)).toEqual(Array.from({ length: 60 }, (_, at) => String(at + 1)))
    const { items } = await lab.client().call('experiments.events', { params: { experiment: id } })
    expect(items.filter(({ code }) => code === 'task.failed')).toHaveLength(1)
    const { items: files } = await lab.client().call('experiments.artifacts', { params: { experiment: id } })
    expect(files).toMatchObject([{ path: 'end.txt', bytes: 5, copies: 2 }])
    await eventually(
      'the container is removed',
      async () => (await containersOf(task?.id ?? '')).length === 0,
    )
  })

  it('killed with -9 and started after the container has ended: the exit code is told once', async () => {
    const { id } = await lab.submit({
      name: 'ended-alone',
      command: 'echo alone; sleep 2; exit 5',
      resources: 'cpu=0.5, memory=64Mi',
    })
    const running = await lab.until(id, ({ state }) => state === 'Running')
    const agent = lab.agentOf(running.tasks[0]?.node ?? null)
    await agent.kill()
    const [container] = await containersOf(running.tasks[0]?.id ?? '')
    await engine.docker.getContainer(container?.Id ?? '').wait()
    await agent.start()
    expect(await lab.ended(id)).toMatchObject({ state: 'Failed', tasks: [{ attempt: 1, exit_code: 5 }] })
    expect(await lab.logOf(id)).toEqual(['alone'])
  })

  it('say when memory ran out, and when an image is missing', async () => {
    const eater = 'a=x; while true; do a=$a$a; done'
    const hungry = await lab.submit({ name: 'hungry', command: eater, resources: 'cpu=0.5, memory=32Mi' })
    const nowhere = await lab.submit({
      name: 'nowhere',
      environment: { image: 'localhost:1/no/such:image' },
      command: 'true',
      resources: 'cpu=0.5, memory=32Mi',
    })
    expect(await lab.ended(hungry.id)).toMatchObject({ state: 'Failed', reason: { code: 'oom_killed' } })
    expect(await lab.ended(nowhere.id)).toMatchObject({ state: 'Failed', reason: { code: 'image_missing' } })
  })

  it('stop a container that ignores SIGTERM, after the grace', async () => {
    const { id } = await lab.submit({
      name: 'stubborn',
      command: "trap '' TERM; echo up; while true; do sleep 0.1; done",
      resources: 'cpu=0.5, memory=32Mi',
    })
    await lab.until(id, ({ state }) => state === 'Running')
    await eventually('it is up', async () => (await lab.logOf(id)).length > 0)
    await lab.client().call('experiments.stop', { params: { experiment: id } })
    expect(await lab.ended(id)).toMatchObject({ state: 'Stopped' })
  })

  it('let the code of a folder report to its agent from inside its container', async () => {
    const { demoSpec } = await import('../../resources/demo/experiment.ts')
    const { language } = await loadBaseImage(engine.docker)
    const spec = await demoSpec(lab.client(), {
      docker: engine.docker,
      socket: engine.socket,
      version: '',
      image: '',
      language,
    })
    const { id } = await lab.submit({ ...spec, env: { EPOCHS: '5', EPOCH_SECONDS: '0' } })
    const done = await lab.ended(id)
    expect(done.state, JSON.stringify(await lab.logOf(id))).toBe('Succeeded')
    const { series } = await lab.client().call('experiments.metrics', { params: { experiment: id } })
    expect(series.map(({ key, points }) => [key, points.length])).toEqual([
      ['loss', 5],
      ['accuracy', 5],
    ])
  })

  it('give a secret to its task and keep it from all else: answers, logs, disks; the key that protects it is replaced', async () => {
    const config = path.join(root, 'config.json')
    const cli = (args: string[], input?: string) => submarine(config, args, input)
    const [first, file, variable, seen] = Array.from({ length: 4 }, () =>
      randomBytes(18).toString('hex'),
    ) as [string, string, string, string]
    const [agent] = lab.agents
    await cli(['login', agent?.url ?? '', '--user', 'admin', '--password-stdin'], password)
    const tokens = (await readFile(config, 'utf8')).match(/sdc_[\w-]+/g) ?? []
    const said = [
      await cli(['secret', 'set', 's3', '--value-stdin', '--description', seen], first),
      await cli(['secret', 'set', 's3', '--value-stdin', '--description', seen], file),
      await cli(['secret', 'set', 'wandb', '--value-stdin'], variable),
      await cli(['cluster', 'rotate-key']),
      await cli(['secret', 'list', '--output', 'json']),
    ]
    const keys = () =>
      Promise.all(lab.agents.map(({ data }) => readFile(path.join(data, 'cluster.key'), 'utf8')))
    await eventually('all voters have the new key alone', async () => {
      const found = await keys()
      return found.every((text) => text === found[0] && text.trim().length === 44)
    })

    const command = [
      'python3', '-c',
      "import hashlib, os, time; t = lambda x: print(hashlib.sha256(x).hexdigest(), flush=True); t(open('/run/secrets/s3','rb').read()); t(os.environb[b'WANDB']); time.sleep(600)",
    ] // prettier-ignore
    const spec = { command, resources: 'cpu=0.5, memory=64Mi' }
    const both = await lab.submit({ ...spec, name: 'both', secrets: ['s3', { name: 'wandb', env: 'WANDB' }] })
    await eventually('it has told what it was given', async () => (await lab.logOf(both.id)).length >= 2)
    expect(await lab.logOf(both.id)).toEqual([hash('sha256', file), hash('sha256', variable)])
    const [container] = await containersOf(`${both.id}-worker-0`)
    const inspected = JSON.stringify(await engine.docker.getContainer(container?.Id ?? '').inspect())
    expect(inspected).not.toContain(file)
    expect(inspected).toContain(variable)
    await expect(lab.submit({ ...spec, name: 'other', secrets: ['ben/git'] })).rejects.toMatchObject({
      code: 'invalid_spec',
    })
    await cli(['experiment', 'stop', both.id])
    await lab.ended(both.id)

    said.push(
      await cli(['experiment', 'get', both.id, '--output', 'json']),
      await cli(['event', 'list', '--output', 'json', '--limit', '1000']),
      await cli(['audit', 'list', '--output', 'json']),
      await cli(['secret', 'delete', 's3']),
    )
    expect(said.join()).toContain('cluster.key_rotated')
    expect(tokens.length).toBeGreaterThan(0)
    for (const hidden of [first, file, variable, password, lab.token, ...tokens]) {
      expect(said.join().includes(hidden), 'told by the API').toBe(false)
      // Data folders and what the agents wrote of themselves, one beside the other.
      expect(await filesWith(lab.folder, hidden)).toEqual([])
    }
    // What may be found is found: the search would see the others.
    expect((await filesWith(lab.folder, seen)).length).toBeGreaterThan(2)
  })

  it(
    'give a task a Kerberos ticket, its user’s alone, and new ones in its place while it runs',
    needs.kerberos,
    async () => {
      const realm = await TestRealm.start()
      try {
        realm.admin('addprinc -randkey +requires_preauth -maxlife "6 seconds" ana')
        const body = { realms: [{ realm: realm.realm, kdcs: [realm.kdc] }] }
        await lab.client().call('kerberos.set', { body })
        const value = (await realm.keytab('ana')).toString('base64')
        const keytab = { value, encoding: 'base64', kind: 'keytab', principal: `ana@${realm.realm}` } as const
        await lab.client().call('secrets.put', { params: { secret: 'hdfs' }, body: keytab })
        const command = ['python3', '-uc', looksAtTicket]
        const { id } = await lab.submit({
          name: 'ticket',
          command,
          resources: 'cpu=0.5, memory=64Mi',
          secrets: ['hdfs'],
        })
        const done = await lab.ended(id)
        const seen = `mine 0o600 ana ${realm.realm} ['krb5.conf', 'krb5cc'] read-only`
        expect(await lab.logOf(id), JSON.stringify(done)).toEqual([seen, seen])
      } finally {
        await realm.stop()
      }
    },
  )
})

/** What it is now, and, once another lies there, what that is. */
const looksAtTicket = `
import os, stat, time
path = os.environ['KRB5CCNAME'].removeprefix('FILE:')
def look():
    at, text = os.stat(path), open(path, 'rb').read().decode('latin1')
    whose = 'mine' if (at.st_uid, at.st_gid) == (os.getuid(), os.getgid()) else at.st_uid
    try: kept = open(path, 'ab') and 'writable'
    except OSError: kept = 'read-only'
    realm = open(os.environ['KRB5_CONFIG']).read().split('default_realm = ')[1].split()[0]
    print(whose, oct(stat.S_IMODE(at.st_mode)), 'ana' if 'ana' in text else '?', realm, sorted(os.listdir(os.path.dirname(path))), kept)
    return text
first = look()
while open(path, 'rb').read().decode('latin1') == first: time.sleep(0.1)
look()`
