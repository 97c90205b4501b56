import type { DesktopApi } from './contract.ts'
import { channelNames, type ChannelName } from './names.ts'

/** The functions the page gets: one per channel, no free channel name among them. */
export function makeDesktopApi(invoke: (channel: string, argument: unknown) => Promise<unknown>): DesktopApi {
  const api: Partial<Record<ChannelName, (argument: unknown) => Promise<unknown>>> = {}
  for (const name of channelNames) api[name] = (argument) => invoke(name, argument)
  return api as DesktopApi
}
