import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { actions, type Actor } from '../../contract/index.ts'
import type { Directories } from './directories.ts'
import { createPeople, type PeopleService } from './people.ts'
import { admin, password, World } from './testing/world.ts'
import { TokenUse } from './token-use.ts'

/** No directory is connected. */
const nobody: Directories = { check: async () => undefined }

let world: World
let people: PeopleService
let use: TokenUse
beforeEach(async () => {
  world = await World.create(1)
  use = new TokenUse(world.cluster, () => world.now)
  people = createPeople(world.deps(), use, nobody)
})
afterEach(() => {
  use.close()
  return world.close()
})

const office = '192.0.2.1'
const wrong = (address = office, user = 'admin') =>
  people.signIn({ user, password: 'guess' }, { address }).catch((error: unknown) => error as { code: string; retryAfter?: number }) // prettier-ignore
const right = (address = office) => people.signIn({ user: 'admin', password }, { address })

describe('signing in', () => {
  it('answers a token for thirty days, of which the state knows the digest only', async () => {
    const { token, expires_at } = await right()
    expect(Date.parse(expires_at) - world.now).toBe(30 * 24 * 3600 * 1000)
    expect(JSON.stringify(world.log.state.tokens)).not.toContain(token)
    expect(await people.actorOf(token)).toMatchObject(admin)
    world.now += 30 * 24 * 3600 * 1000
    await expect(people.actorOf(token)).rejects.toMatchObject({ code: 'unauthenticated' })
    expect(people.stillThere(token)).toBeUndefined()
  })

  it('says the same for a wrong password and for nobody', async () => {
    expect(await wrong()).toMatchObject({ code: 'bad_credentials' })
    expect(await wrong(office, 'nobody')).toMatchObject({ code: 'bad_credentials' })
    expect(await wrong(office, '__proto__')).toMatchObject({ code: 'bad_credentials' })
  })

  it('slows guessing down, a little longer each time, and never for more than a minute', async () => {
    for (let at = 0; at < 5; at++) expect(await wrong()).toMatchObject({ code: 'bad_credentials' })
    const waits: number[] = []
    for (let at = 0; at < 9; at++) {
      const refused = await wrong()
      expect(refused).toMatchObject({ code: 'rate_limited' })
      waits.push(Number('retryAfter' in refused ? refused.retryAfter : 0))
      world.now += (waits.at(-1) ?? 0) * 1000
      expect(await wrong()).toMatchObject({ code: 'bad_credentials' })
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60])
    // The right password waits too, then opens, and the count begins anew.
    await expect(right()).rejects.toMatchObject({ code: 'rate_limited' })
    world.now += 60_000
    await right()
    expect(await wrong()).toMatchObject({ code: 'bad_credentials' })
    await right()
  })

  it('locks out neither colleagues behind the same address nor the user elsewhere', async () => {
    for (let at = 0; at < 20; at++) await wrong(office, `guessed-${at % 2}`)
    await right()
    for (let at = 0; at < 20; at++) await wrong('198.51.100.7')
    await right()
  })

  it('checks few passwords at once: each costs memory', async () => {
    let running = 0
    let most = 0
    const slow = createPeople(
      world.deps(world.cluster, {
        verifyPassword: async () => {
          most = Math.max(most, ++running)
          await new Promise((resolve) => setTimeout(resolve, 10))
          running--
          return true
        },
      }),
      use,
      nobody,
    )
    const all = Array.from({ length: 50 }, (_, at) =>
      slow.signIn({ user: 'admin', password }, { address: `10.0.0.${at}` }),
    )
    const results = await Promise.allSettled(all)
    expect(most).toBe(8)
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(8)
  })

  it('needs a leader', async () => {
    world.log.setLeader(null)
    await expect(right()).rejects.toMatchObject({ code: 'no_leader' })
    await expect(people.actorOf('sdc_unknown')).rejects.toMatchObject({ code: 'no_leader' })
  })
})

describe('a task’s token', () => {
  it('is good for the attempt that holds it, while it runs', async () => {
    const [task = ''] = world.submit('exp-1')
    const [token = ''] = world.run('exp-1')
    const actor: Actor = { kind: 'task', task, workload: 'exp-1', attempt: 1 }
    expect(await people.actorOf(token)).toEqual(actor)
    expect(await people.actorOf(token)).toEqual(actor)
    world.finish(task)
    await expect(people.actorOf(token)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  it('may do what the evaluator says, and has no account', async () => {
    world.submit('exp-1')
    const actor = await people.actorOf(world.run('exp-1')[0] ?? '')
    const allowed = actions.filter((action) => people.mayI(actor, action).allowed)
    expect(allowed).toEqual([
      'self:read',
      'experiment:read',
      'log:read',
      'artifact:read',
      'metric:read',
      'metric:write',
    ])
    expect(() => people.me(actor)).toThrow(expect.objectContaining({ code: 'forbidden' }))
  })
})

it('nobody is nobody', () => {
  expect(() => people.me({ kind: 'anonymous' })).toThrow(expect.objectContaining({ code: 'unauthenticated' }))
  expect(people.me(admin)).toMatchObject({ name: 'admin', rank: 'admin' })
})
