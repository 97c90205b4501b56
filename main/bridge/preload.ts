import type { DesktopApi } from './contract.ts'
import { channelNames } from './names.ts'

/** The functions the page gets: one per channel, no free channel name among them. */
export function makeDesktopApi(invoke: (channel: string, argument: unknown) => Promise<unknown>): DesktopApi {
  const entries = channelNames.map((name) => [name, (argument: unknown) => invoke(name, argument)])
  return Object.fromEntries(entries)
}
