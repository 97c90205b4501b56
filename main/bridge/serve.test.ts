import { describe, expect, it } from 'vitest'
import { ProblemError } from '../../contract/problem.ts'
import { channelNames } from './names.ts'
import { makeDesktopApi } from './preload.ts'
import { type Handlers, type IpcEvent, serveBridge } from './serve.ts'

type Listener = (event: IpcEvent, argument: unknown) => Promise<unknown>
const ours: IpcEvent = { senderFrame: { url: 'app://console/experiments', parent: null } }

/** The bridge with handlers that say what they were given, over a double of ipcMain. */
function bridge(handlers: Partial<Handlers> = {}) {
  const listeners = new Map<string, Listener>()
  const asked: unknown[] = []
  const echo = (argument: unknown) => {
    asked.push(argument)
    return Promise.resolve({ connections: [] })
  }
  const all = Object.fromEntries(channelNames.map((name) => [name, echo])) as unknown as Handlers
  serveBridge({ handle: (name, listener) => void listeners.set(name, listener) }, { ...all, ...handlers })
  const ask = (name: string, argument: unknown, event = ours) =>
    listeners.get(name)?.(event, argument) ?? Promise.reject(new Error('no such channel'))
  return { ask, asked, names: [...listeners.keys()] }
}

describe('the bridge', () => {
  it('serves exactly the channels of the contract, and the page gets a function for each', async () => {
    expect(bridge().names).toEqual([...channelNames])
    const sent: unknown[] = []
    const api = makeDesktopApi((...args) => Promise.resolve(void sent.push(args)))
    expect(Object.keys(api)).toEqual([...channelNames])
    await api['connections.use']({ id: 'c1' })
    expect(sent).toEqual([['connections.use', { id: 'c1' }]])
  })

  it('answers our own page', async () => {
    const { ask, asked } = bridge()
    expect(await ask('connections.list', {})).toEqual({ ok: true, value: { connections: [] } })
    expect(asked).toEqual([{}])
  })

  it.each<[string, IpcEvent]>([
    ['a frame that is gone', { senderFrame: null }],
    ['a frame within the page', { senderFrame: { url: 'app://console/', parent: {} } }],
    ['another host', { senderFrame: { url: 'app://console.evil/', parent: null } }],
    ['another scheme', { senderFrame: { url: 'https://console/', parent: null } }],
    ['no address', { senderFrame: { url: '', parent: null } }],
  ])('refuses %s', async (_, event) => {
    const { ask, asked } = bridge()
    expect(await ask('connections.list', {}, event)).toMatchObject({
      ok: false,
      error: { code: 'forbidden' },
    })
    expect(asked).toEqual([])
  })

  it.each([
    ['connections.list', { extra: 1 }],
    ['connections.list', undefined],
    ['connections.use', { id: '' }],
    ['connections.use', { id: 'a', token: 'b' }],
    ['connections.add', { address: 'a', fingerprint: 'XYZ' }],
    ['connections.inspect', { address: 'a'.repeat(301) }],
    ['links.open', { url: 5 }],
  ])('refuses %s with %j', async (name, argument) => {
    const { ask, asked } = bridge()
    expect(await ask(name, argument)).toMatchObject({ ok: false, error: { code: 'invalid_request' } })
    expect(asked).toEqual([])
  })

  it('hands errors on as code, message and hint', async () => {
    const { ask } = bridge({
      'connections.use': () => Promise.reject(new ProblemError('not_found', 'none', { hint: 'look' })),
      'connections.list': () => Promise.reject(new Error('broken')),
    })
    expect(await ask('connections.use', { id: 'a' })).toEqual({
      ok: false,
      error: { code: 'not_found', message: 'none', hint: 'look' },
    })
    expect(await ask('connections.list', {})).toMatchObject({
      error: { code: 'internal', message: 'broken' },
    })
  })
})
