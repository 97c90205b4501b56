import { ProblemError } from '../../contract/problem.ts'
import { type Answer, type BridgeError, channels, type In, type Out } from './contract.ts'
import { channelNames, type ChannelName } from './names.ts'

/** What of Electron's ipcMain this needs. */
export interface IpcPort {
  handle(channel: string, listener: (event: IpcEvent, argument: unknown) => Promise<unknown>): void
}
export interface IpcEvent {
  /** null when the frame is gone already. */
  readonly senderFrame: { readonly url: string; readonly parent: unknown } | null
}

export type Handlers = { readonly [K in ChannelName]: (argument: In<K>) => Promise<Out<K>> }

/** Answers every channel: the sender is ours, the argument is valid, and an error is a value. */
export function serveBridge(ipc: IpcPort, handlers: Handlers): void {
  for (const name of channelNames)
    ipc.handle(name, async (event, argument) => answer(name, handlers, event, argument))
}

async function answer(
  name: ChannelName,
  handlers: Handlers,
  event: IpcEvent,
  argument: unknown,
): Promise<Answer<unknown>> {
  if (!isOurPage(event)) return refuse('forbidden', 'Only the console itself may ask this')
  const parsed = channels[name].in.safeParse(argument)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    return refuse(
      'invalid_request',
      `${name}: ${issue?.path.join('.') || 'argument'}: ${issue?.message ?? 'wrong'}`,
    )
  }
  try {
    const handler = handlers[name] as (argument: unknown) => Promise<unknown>
    return { ok: true, value: await handler(parsed.data) }
  } catch (error) {
    return { ok: false, error: errorOf(error) }
  }
}

/** The top frame of app://console, compared part by part: a prefix would let app://console.evil pass. */
function isOurPage({ senderFrame }: IpcEvent): boolean {
  if (!senderFrame || senderFrame.parent !== null) return false
  const url = URL.parse(senderFrame.url)
  return url?.protocol === 'app:' && url.host === 'console'
}

const refuse = (code: string, message: string): Answer<never> => ({
  ok: false,
  error: { code, message, hint: 'Reload the window.' },
})

const errorOf = (error: unknown): BridgeError =>
  error instanceof ProblemError
    ? { code: error.code, message: error.message, hint: error.hint }
    : {
        code: 'internal',
        message: error instanceof Error ? error.message : String(error),
        hint: 'Try again.',
      }
