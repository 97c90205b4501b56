import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Actor,
  type ExperimentPatch,
  holdsResources,
  isFinal,
  type Inventory,
  type ProblemError,
} from '../../contract/index.ts'
import { apply, UnknownCommand } from './apply.ts'
import type { Command, TaskReport } from './commands.ts'
import type { State } from './state.ts'
import { emptyState } from './transaction.ts'

const GiB = 1024 ** 3
const admin: Actor = { kind: 'user', name: 'admin', rank: 'admin' }
const inventory = { gpus: [], runtimes: ['docker', 'process'], default_image: 'base' } as unknown as Inventory

/** A state under commands, as the log would drive it. */
class Replica {
  state: State = emptyState
  index = 0
  readonly events: string[] = []

  do(command: Command, at = '2026-01-01T00:00:00.000Z'): unknown {
    const { state, events, outcome } = apply(this.state, ++this.index, { v: 1, at, actor: admin, command })
    this.state = state
    this.events.push(...events.map((event) => event.code))
    if ('problem' in outcome) throw outcome.problem
    return outcome.value
  }

  refused(command: Command): string {
    try {
      this.do(command)
    } catch (error) {
      return (error as ProblemError).code
    }
    return 'accepted'
  }
}

function cluster(nodes = 2, cpu = 4, gpus: string[][] = []): Replica {
  const replica = new Replica()
  replica.do({
    type: 'cluster.create', id: 'c1', name: 'lab', ca: 'pem', sealed_ca_key: 'sealed',
    admin: { name: 'admin', password_hash: 'hash' }, node: { name: 'host-1', address: 'h1:7460' },
  }) // prettier-ignore
  for (let n = 2; n <= nodes; n++) {
    replica.do({ type: 'joinToken.create', sha256: `t${n}`, expires_at: '2027-01-01T00:00:00.000Z' })
    replica.do({ type: 'node.join', token_sha256: `t${n}`, name: `host-${n}`, address: `h${n}:7460` })
  }
  for (let n = 1; n <= nodes; n++) replica.do(nodeReport(n, cpu, gpus[n - 1]))
  return replica
}

const nodeReport = (n: number, cpu: number, gpus: string[] = []): Command => ({
  type: 'node.report', node: `node-${n}`, address: `h${n}:7460`, inventory, gpus,
  allocatable: { cpu, memory: 8 * GiB, gpu: gpus.length, disk: 100 * GiB },
}) // prettier-ignore

function create(id: string, cpu = 1, replicas = 1, gpu = 0, key?: string): Command {
  const role = { replicas, resources: { cpu, memory: GiB, gpu, disk: 0 }, command: ['true'], env: {} }
  return {
    type: 'experiment.create', id, owner: 'admin', spec: { name: id, type: 'script', tags: [], roles: { worker: role } },
    ...(key ? { idempotency: { key, request_sha256: id } } : {}),
  } // prettier-ignore
}

const place = (id: string, on: [index: number, node: string, gpus?: string[]][], attempt = 1): Command => ({
  type: 'workload.place',
  id,
  placements: on.map(([index, node, gpus = []]) => ({
    task: `${id}-worker-${index}`,
    attempt,
    node,
    runtime: 'docker',
    gpus,
  })),
})

const report = (id: string, state: TaskReport['state'], more: Partial<TaskReport> = {}): TaskReport => ({
  type: 'task.report', task: `${id}-worker-0`, attempt: 1, node: 'node-1', state, ...more,
}) // prettier-ignore

describe('an experiment', () => {
  it('goes from Accepted to Succeeded and tells each step once', () => {
    const replica = cluster()
    replica.events.length = 0
    replica.do(create('e1'))
    replica.do(place('e1', [[0, 'node-1']]))
    replica.do(report('e1', 'Running', { started_at: '2026-01-01T00:00:01.000Z' }))
    replica.do(report('e1', 'Succeeded', { exit_code: 0 }))
    replica.do(report('e1', 'Succeeded', { exit_code: 0 }))
    expect(replica.events).toEqual([
      'experiment.accepted', 'task.placed', 'experiment.starting', 'task.running', 'experiment.running',
      'task.succeeded', 'experiment.succeeded',
    ]) // prettier-ignore
    expect(replica.state.experiments.get('e1')).toMatchObject({
      state: 'Succeeded',
      started_at: '2026-01-01T00:00:01.000Z',
    })
  })

  it('has a task for each index of its array, which carries the index in its name', () => {
    const replica = cluster()
    const command = create('e1', 1, 1, 1) as Extract<Command, { type: 'experiment.create' }>
    const { worker } = command.spec.roles
    const roles = { worker: { ...(worker as NonNullable<typeof worker>), gpu: { model: 'A100' } } }
    replica.do({ ...command, spec: { ...command.spec, roles, array: { indices: [3, 7], limit: 1 } } })
    expect(replica.state.experiments.get('e1')?.tasks).toEqual(['e1-worker-3', 'e1-worker-7'])
    expect(replica.state.tasks.get('e1-worker-7')).toMatchObject({
      array_index: 7,
      index: 7,
      gpu: { model: 'A100' },
      resources: { gpu: 1 },
    })
  })

  it('keeps its final state against a late report', () => {
    const replica = cluster()
    replica.do(create('e1'))
    replica.do(place('e1', [[0, 'node-1']]))
    replica.do(
      report('e1', 'Failed', { exit_code: 3, reason: { code: 'exit_code', message: 'exited with 3' } }),
    )
    replica.do(report('e1', 'Running'))
    replica.do(report('e1', 'Succeeded', { exit_code: 0 }))
    expect(replica.state.tasks.get('e1-worker-0')).toMatchObject({ state: 'Failed', exit_code: 3 })
    expect(replica.state.experiments.get('e1')).toMatchObject({
      state: 'Failed',
      reason: { message: 'exited with 3' },
    })
  })

  it('refuses reports of another attempt or node', () => {
    const replica = cluster()
    replica.do(create('e1'))
    replica.do(place('e1', [[0, 'node-1']]))
    expect(replica.refused(report('e1', 'Running', { attempt: 0 }))).toBe('stale_attempt')
    expect(replica.refused(report('e1', 'Running', { attempt: 2 }))).toBe('conflict')
    expect(replica.refused(report('e1', 'Running', { node: 'node-2' }))).toBe('conflict')
  })

  it('is made once for one idempotency key', () => {
    const replica = cluster()
    expect(replica.do(create('e1', 1, 1, 0, 'admin:k'))).toEqual({ id: 'e1', made: true })
    const again = {
      ...create('e2', 1, 1, 0, 'admin:k'),
      idempotency: { key: 'admin:k', request_sha256: 'e1' },
    } as Command
    expect(replica.do(again)).toEqual({ id: 'e1', made: false })
    expect(replica.refused(create('e3', 1, 1, 0, 'admin:k'))).toBe('idempotency_mismatch')
    expect([...replica.state.experiments.keys()]).toEqual(['e1'])
  })

  it('is made once however wrong a clock is, and the key is forgotten when it is old and many came since', () => {
    const replica = cluster()
    const keyed = (id: string, key: string) =>
      ({ ...create(id), idempotency: { key, request_sha256: key } }) as Command
    replica.do(keyed('first', 'k0'))
    replica.do(keyed('ahead', 'ahead'), '2026-03-01T00:00:00.000Z')
    expect(replica.do(keyed('again', 'k0'))).toEqual({ id: 'first', made: false })
    const row = {
      request_sha256: 'x',
      made: 'x',
      at: '2026-01-01T00:00:00.000Z',
      resource_version: replica.index,
    }
    const many = Array.from({ length: 10_000 }, (_, at) => [`many-${at}`, row] as [string, typeof row])
    replica.state = { ...replica.state, idempotency: replica.state.idempotency.concat(many) }
    replica.do(keyed('next-day', 'next-day'), '2026-01-02T00:00:00.000Z')
    expect(replica.state.idempotency.has('k0')).toBe(true)
    replica.do(keyed('later', 'later'), '2026-01-02T00:00:01.000Z')
    expect(replica.state.idempotency.has('k0')).toBe(false)
    expect(replica.state.idempotency.has('many-1')).toBe(true)
    expect(replica.state.idempotency.size).toBe(10_001)
  })

  it('stops at once while it waits, and through its nodes while it runs', () => {
    const replica = cluster()
    replica.do(create('waits'))
    replica.do({ type: 'experiment.stop', id: 'waits' })
    expect(replica.state.experiments.get('waits')?.state).toBe('Stopped')
    replica.do(create('runs'))
    replica.do(place('runs', [[0, 'node-1']]))
    replica.do({ type: 'experiment.stop', id: 'runs' })
    expect(replica.state.experiments.get('runs')).toMatchObject({ state: 'Starting', stop_requested: true })
    replica.do(report('runs', 'Stopped'))
    expect(replica.state.experiments.get('runs')?.state).toBe('Stopped')
    expect(replica.refused({ type: 'experiment.stop', id: 'runs' })).toBe('conflict')
  })

  it('fails as a whole when one of its tasks fails', () => {
    const replica = cluster()
    replica.do(create('gang', 1, 2))
    replica.do(place('gang', [[0, 'node-1'], [1, 'node-2']])) // prettier-ignore
    replica.do(report('gang', 'Failed', { reason: { code: 'exit_code', message: 'exited with 1' } }))
    expect(replica.state.experiments.get('gang')).toMatchObject({ stop_requested: true, state: 'Starting' })
    replica.do({ ...report('gang', 'Stopped'), task: 'gang-worker-1', node: 'node-2' })
    expect(replica.state.experiments.get('gang')).toMatchObject({
      state: 'Failed',
      reason: { message: 'exited with 1' },
    })
  })

  it('is edited by merge patch, only at the version the caller saw, and not moved by an edit that changes nothing', () => {
    const replica = cluster()
    replica.do(create('e1'))
    const edit = (patch: ExperimentPatch, if_version?: number): Command => ({
      type: 'experiment.edit',
      id: 'e1',
      patch,
      ...(if_version === undefined ? {} : { if_version }),
    })
    const row = () => replica.state.experiments.get('e1')
    const created = replica.index
    replica.do(edit({ description: 'first', tags: { a: '1', b: '2' } }, created))
    expect(row()).toMatchObject({
      description: 'first',
      tags: { a: '1', b: '2' },
      resource_version: replica.index,
    })
    expect(replica.refused(edit({ description: 'late' }, created))).toBe('precondition_failed')
    const version = row()?.resource_version
    replica.do(edit({ description: 'first', tags: { b: '2', none: null } }))
    replica.do(edit({}))
    expect(row()?.resource_version).toBe(version)
    replica.do(edit({ tags: { b: null, c: '3' } }))
    expect(row()).toMatchObject({ description: 'first', tags: { a: '1', c: '3' } })
    replica.do(edit({ description: null, tags: null }))
    expect(row()).toMatchObject({ description: '', tags: {} })
    expect(replica.events.filter((code) => code === 'experiment.edited')).toHaveLength(3)
    expect(replica.refused({ ...edit({}), id: 'none' } as Command)).toBe('not_found')
  })

  it('is as new as its newest task when it is edited', () => {
    const replica = cluster()
    replica.do(create('e1'))
    replica.do(place('e1', [[0, 'node-1']]))
    replica.do(report('e1', 'Running'))
    replica.do({
      ...report('e1', 'Succeeded'),
      log: { files: 1, bytes: 1, sha256: 'x', holders: ['node-1'] },
    })
    const before = replica.state.experiments.get('e1')?.resource_version ?? 0
    replica.do({ type: 'task.copied', task: 'e1-worker-0', attempt: 1, kind: 'log', holders: ['node-2'] })
    expect(replica.state.experiments.get('e1')?.resource_version).toBe(before)
    const edit = (if_version: number): Command => ({ type: 'experiment.edit', id: 'e1', patch: { description: 'x' }, if_version }) // prettier-ignore
    expect(replica.refused(edit(before))).toBe('precondition_failed')
    expect(replica.refused(edit(replica.index - 1))).toBe('accepted')
  })

  it('keeps so many tags and no more', () => {
    const replica = cluster()
    replica.do(create('e1'))
    const tags = (from: number, count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${from + at}`, 'v']))
    replica.do({ type: 'experiment.edit', id: 'e1', patch: { tags: tags(0, 64) } })
    expect(replica.refused({ type: 'experiment.edit', id: 'e1', patch: { tags: tags(64, 1) } })).toBe(
      'invalid_request',
    )
    replica.do({ type: 'experiment.edit', id: 'e1', patch: { tags: { k0: null, k64: 'v' } } })
  })

  it('is deleted only when it has ended', () => {
    const replica = cluster()
    replica.do(create('e1'))
    expect(replica.refused({ type: 'experiment.delete', id: 'e1' })).toBe('conflict')
    replica.do({ type: 'experiment.stop', id: 'e1' })
    expect(replica.refused({ type: 'experiment.delete', id: 'e1', if_version: 1 })).toBe(
      'precondition_failed',
    )
    replica.do({ type: 'experiment.delete', id: 'e1' })
    expect(replica.state.tasks.size).toBe(0)
    expect(replica.refused({ type: 'experiment.delete', id: 'e1' })).toBe('not_found')
  })
})

describe('a placement', () => {
  it('is refused when it would over-commit a node', () => {
    const replica = cluster(2, 2)
    replica.do(create('big', 2))
    replica.do(create('more', 1))
    replica.do(place('big', [[0, 'node-1']]))
    expect(replica.refused(place('more', [[0, 'node-1']]))).toBe('conflict')
    expect(replica.refused(place('more', [[0, 'node-2']]))).toBe('accepted')
  })

  it('places a gang whole or changes nothing', () => {
    const replica = cluster(2, 2)
    replica.do(create('gang', 2, 2))
    expect(replica.refused(place('gang', [[0, 'node-1']]))).toBe('conflict')
    const before = replica.state
    expect(replica.refused(place('gang', [[0, 'node-1'], [1, 'node-1']]))).toBe('conflict') // prettier-ignore
    expect(replica.state).toBe(before)
  })

  it('gives a GPU to one task, and only one that the node owns', () => {
    const replica = cluster(2, 8, [['GPU-a'], ['GPU-b']])
    for (const id of ['x', 'y', 'z']) replica.do(create(id, 1, 1, 1))
    replica.do(place('x', [[0, 'node-1', ['GPU-a']]]))
    expect(replica.refused(place('y', [[0, 'node-1', ['GPU-a']]]))).toBe('conflict')
    expect(replica.refused(place('y', [[0, 'node-1', ['GPU-b']]]))).toBe('conflict')
    expect(replica.refused(place('y', [[0, 'node-2', []]]))).toBe('conflict')
    replica.do(report('x', 'Succeeded'))
    expect(replica.refused(place('z', [[0, 'node-1', ['GPU-a']]]))).toBe('accepted')
  })

  it('leaves a GPU with the node that reported it first', () => {
    const replica = cluster(2, 8, [['GPU-a'], ['GPU-a', 'GPU-b']])
    expect(replica.state.nodes.get('node-2')?.gpus).toEqual(['GPU-b'])
    expect(replica.events).toContain('node.gpu_refused')
  })
})

describe('joining', () => {
  it('uses a token once, never after its end, and never a member id again', () => {
    const replica = cluster(1)
    const join = (name: string): Command => ({ type: 'node.join', token_sha256: 't', name, address: 'a:1' })
    expect(replica.refused(join('b'))).toBe('bad_credentials')
    replica.do({ type: 'joinToken.create', sha256: 't', expires_at: '2026-01-01T00:00:00.000Z' })
    expect(replica.refused(join('b'))).toBe('bad_credentials')
    replica.do({ type: 'joinToken.create', sha256: 't', expires_at: '2026-06-01T00:00:00.000Z' })
    expect(replica.refused(join('host-1'))).toBe('already_exists')
    expect(replica.do(join('b'))).toEqual({ member: 2, node: 'node-2' })
    expect(replica.refused(join('c'))).toBe('bad_credentials')
  })
})

describe('removing a node', () => {
  const kept = (...holders: string[]) => ({ files: 1, bytes: 1, sha256: 's', holders })
  const remove = (node: string, force = false): Command => ({ type: 'node.remove', node, force })

  it('takes its record; its name is free again, its id never', () => {
    const replica = cluster(2)
    replica.do(remove('node-2'))
    expect([...replica.state.nodes.keys()]).toEqual(['node-1'])
    expect(replica.events.at(-1)).toBe('node.removed')
    replica.do({ type: 'joinToken.create', sha256: 't', expires_at: '2027-01-01T00:00:00.000Z' })
    const again = replica.do({ type: 'node.join', token_sha256: 't', name: 'host-2', address: 'h2:7460' })
    expect(again).toEqual({ member: 3, node: 'node-3' })
  })

  it('is refused for the only node, for one that runs tasks, for the only copy of something', () => {
    const replica = cluster(1)
    expect(replica.refused(remove('node-1', true))).toBe('conflict')
    const two = cluster(2)
    expect(two.refused(remove('node-9'))).toBe('not_found')
    two.do(create('e1'))
    two.do(place('e1', [[0, 'node-1']]))
    expect(two.refused(remove('node-1'))).toBe('conflict')
    two.do(report('e1', 'Succeeded', { log: kept('node-1') }))
    expect(two.refused(remove('node-1'))).toBe('conflict')
    two.do({ type: 'task.copied', task: 'e1-worker-0', attempt: 1, kind: 'log', holders: ['node-2'] })
    two.do({ type: 'blob.create', sha256: 'b', bytes: 1, holders: ['node-1'] })
    expect(two.refused(remove('node-1'))).toBe('conflict')
    two.do({ type: 'blob.create', sha256: 'b', bytes: 1, holders: ['node-1', 'node-2'] })
    two.do(remove('node-1'))
    // What the removed node held is no copy any more.
    expect(two.refused(remove('node-2', true))).toBe('conflict')
  })

  it('by force counts its tasks as failed and stops the rest of their gangs', () => {
    const replica = cluster(2)
    replica.do(create('e1', 1, 2))
    replica.do(place('e1', [[0, 'node-1'], [1, 'node-2']])) // prettier-ignore
    replica.do(report('e1', 'Starting', { task: 'e1-worker-1', node: 'node-2', token_sha256: 't' }))
    replica.do(remove('node-2', true))
    expect(replica.state.tasks.get('e1-worker-1')).toMatchObject({
      state: 'Failed',
      token_sha256: null,
      reason: { code: 'node_removed', message: 'admin removed node host-2 while it ran there' },
    })
    expect(replica.state.experiments.get('e1')).toMatchObject({ state: 'Starting', stop_requested: true })
    // Word of it from there comes too late.
    replica.do(report('e1', 'Running', { task: 'e1-worker-1', node: 'node-2' }))
    expect(replica.state.tasks.get('e1-worker-1')?.state).toBe('Failed')
  })
})

describe('a command of a later version', () => {
  it('stops the member instead of being skipped', () => {
    const entry = { v: 1, at: '', actor: admin, command: { type: 'model.create' } } as unknown as Parameters<
      typeof apply
    >[2]
    expect(() => apply(emptyState, 1, entry)).toThrow(UnknownCommand)
    expect(() => apply(emptyState, 1, { ...entry, v: 2, command: create('x') } as never)).toThrow(
      UnknownCommand,
    )
  })
})

describe('any sequence of commands', () => {
  const ids = ['a', 'b', 'c']
  const gpu = fc.subarray(['GPU-1', 'GPU-2', 'GPU-3'], { maxLength: 2 })
  const nodeName = fc.constantFrom('node-1', 'node-2', 'node-9')
  const anyCommand: fc.Arbitrary<Command> = fc.oneof(
    fc.record({ id: fc.constantFrom(...ids), cpu: fc.constantFrom(0.5, 1, 3), replicas: fc.integer({ min: 1, max: 3 }), gpu: fc.integer({ min: 0, max: 2 }) })
      .map((r) => create(r.id, r.cpu, r.replicas, r.gpu)),
    fc.record({ id: fc.constantFrom(...ids), on: fc.array(fc.tuple(nodeName, gpu), { minLength: 1, maxLength: 3 }), attempt: fc.integer({ min: 1, max: 2 }) })
      .map((r) => place(r.id, r.on.map(([node, gpus], index) => [index, node, gpus]), r.attempt)),
    fc.record({
      id: fc.constantFrom(...ids), state: fc.constantFrom<TaskReport['state']>('Starting', 'Running', 'Succeeded', 'Failed', 'Stopped'),
      node: nodeName, attempt: fc.integer({ min: 0, max: 2 }),
    }).map((r) => report(r.id, r.state, { node: r.node, attempt: r.attempt })),
    fc.constantFrom(...ids).map((id): Command => ({ type: 'experiment.stop', id })),
    fc.constantFrom(...ids).map((id): Command => ({ type: 'experiment.delete', id })),
    fc.record({ id: fc.constantFrom(...ids), text: fc.constantFrom('a', 'b', null) })
      .map(({ id, text }): Command => ({ type: 'experiment.edit', id, patch: { description: text, tags: { t: text } } })),
    fc.constantFrom(...ids).map((id): Command => ({ type: 'workload.wait', id, reason: { code: 'no_room', message: 'full' } })),
  ) // prettier-ignore

  it('never over-commits a node, never gives a GPU twice, never leaves a final state', () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { maxLength: 60 }), (commands) => {
        const replica = cluster(2, 4, [['GPU-1', 'GPU-2'], ['GPU-3']])
        for (const command of commands) {
          const before = replica.state
          const outcome = replica.refused(command)
          if (outcome !== 'accepted') expect(replica.state).toBe(before)
          check(before, replica.state)
        }
      }),
      { numRuns: 500 },
    )
  })

  function check(before: State, after: State): void {
    for (const node of after.nodes.values()) {
      const holders = [...after.tasks.values()].filter(
        (task) => task.node === node.id && holdsResources(task.state),
      )
      expect(holders.reduce((sum, task) => sum + task.resources.cpu, 0)).toBeLessThanOrEqual(
        node.allocatable?.cpu ?? 0,
      )
      const held = holders.flatMap((task) => task.gpus)
      expect(new Set(held).size).toBe(held.length)
      expect(held.every((uuid) => node.gpus.includes(uuid))).toBe(true)
    }
    for (const [id, task] of before.tasks) {
      const now = after.tasks.get(id)
      if (!now) continue
      if (
        isFinal(task.state) &&
        after.experiments.get(now.workload)?.created_at === before.experiments.get(task.workload)?.created_at
      )
        expect(now.state).toBe(task.state)
      expect(now.attempt).toBeGreaterThanOrEqual(task.attempt)
    }
  }
})
