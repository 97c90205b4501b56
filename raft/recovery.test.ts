import { describe, expect, it } from 'vitest'
import { encodeConfChange } from './codec.ts'
import { RaftDriver } from './driver.ts'
import { MemoryStore } from './memory-store.ts'
import { beginWith, replayAll } from './recovery.ts'
import { encodeCommand } from './sessions.ts'
import { EMPTY_CONF, type Entry } from './types.ts'
import type { StateMachine } from './driver-api.ts'

/** Remembers what was applied, in order; its image is that list. */
function listMachine(): StateMachine & { list: string[] } {
  const machine = {
    list: [] as string[],
    applied: 0,
    sessions: async () => [],
    apply: ({ data }: { data: Uint8Array }) => {
      machine.list.push(Buffer.from(data).toString())
      return data
    },
    flush: async () => undefined,
    snapshot: () => ({ index: 0, data: image(machine.list) }),
    restore: async (index: number, _rows: unknown, data: AsyncIterable<Uint8Array>) => {
      const chunks: Uint8Array[] = []
      for await (const chunk of data) chunks.push(chunk)
      machine.list = JSON.parse(Buffer.concat(chunks).toString()) as string[]
      machine.applied = index
    },
  }
  return machine
}
async function* image(list: readonly string[]): AsyncGenerator<Uint8Array> {
  yield Buffer.from(JSON.stringify(list))
}

const normal = (index: number, data: Uint8Array): Entry => ({ kind: 'normal', index, term: 2, data })
const command = (index: number, seq: number, text: string) =>
  normal(index, encodeCommand({ kind: 'command', client: 2, seq, low: 1, data: Buffer.from(text) }))

function survivorLog(): MemoryStore {
  const store = new MemoryStore({ ...EMPTY_CONF, voters: [1] })
  const add = { changes: [{ type: 'learner', id: 7 }] } as const
  store.appendNow(
    [
      normal(2, encodeCommand({ kind: 'register', nonce: 'n' })),
      command(3, 1, 'a'),
      { kind: 'config', index: 4, term: 2, data: encodeConfChange(add) },
      command(5, 2, 'b'),
      command(6, 1, 'a'),
      command(7, 3, 'c'),
    ],
    { term: 3, vote: 1, commit: 4 },
    true,
  )
  return store
}

describe('a log whose group is lost', () => {
  it('is applied to its end, committed or not, each command once', async () => {
    const stateMachine = listMachine()
    const end = await replayAll({ store: survivorLog(), stateMachine })
    expect(stateMachine.list).toEqual(['a', 'b', 'c'])
    expect(end).toMatchObject({ index: 7, term: 3, commit: 4, conf: { voters: [1], learners: [7] } })
  })

  it('goes on as a new group of one, from the state and at the index given', async () => {
    const store = new MemoryStore(EMPTY_CONF)
    const at = { index: 1000, term: 4, conf: { ...EMPTY_CONF, voters: [9] } }
    await beginWith(store, at, () => image(['a', 'b']))
    const stateMachine = listMachine()
    const transport = { send: () => undefined, onMessage: () => undefined, sendSnapshot: async () => undefined, onSnapshot: () => undefined } // prettier-ignore
    const failed: Error[] = []
    const driver = await RaftDriver.open({
      id: 9,
      store,
      transport,
      stateMachine,
      onFatal: (e) => failed.push(e),
    })
    const { index } = await driver.propose(Buffer.from('c'))
    expect(index).toBeGreaterThan(1000)
    expect(stateMachine.list).toEqual(['a', 'b', 'c'])
    expect(driver.status()).toMatchObject({ role: 'leader', conf: { voters: [9] } })
    expect(driver.status().term).toBeGreaterThan(4)
    await driver.close()
    expect(failed).toEqual([])
  })
})
