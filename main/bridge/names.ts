/** The channels between page and main process: only what a browser cannot do. Everything else is the cluster's API. */
export const channelNames = [
  'connections.list',
  'connections.inspect',
  'connections.add',
  'connections.use',
  'connections.remove',
  'links.open',
] as const
export type ChannelName = (typeof channelNames)[number]
