import { getCACertificates } from 'node:tls'

/** With authorities of its own, a provider is trusted by those alone; else by those of this machine and of Node. */
export const trusted = (ca: string | undefined): string[] =>
  ca === undefined ? [...new Set([...getCACertificates('default'), ...getCACertificates('system')])] : [ca]
