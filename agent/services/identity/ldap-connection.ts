import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import {
  BusyError,
  Client,
  type Entry,
  InvalidCredentialsError,
  NoSuchObjectError,
  ResultCodeError,
  UnavailableError,
} from 'ldapts'
import { type LdapSettings, ProblemError } from '../../../contract/index.ts'
import { clip } from './person.ts'
import { trusted } from './trust.ts'

const connectMs = 5000
const answerMs = 10_000
/** A server that did not answer is asked last for so long, or every sign-in would wait for it. */
const avoidMs = 30_000
const mostFound = 1000
/** Not text: read as bytes. */
const bufferAttributes = ['objectGUID']

/** Settings with the password of the account that searches. */
export interface LdapAccess {
  readonly settings: LdapSettings
  readonly secret: string | null
}

/** One server of a directory, on which our own account has signed in. */
export interface Directory {
  search(base: string, filter: string, attributes: readonly string[]): Promise<Entry[]>
  /** Binds as somebody, over a connection of its own. */
  isPassword(dn: string, password: string): Promise<boolean>
}

/** No answer worth the name: the next server may give one. */
export class ServerDown extends Error {}

/** By address: until when, by the monotonic clock, it is asked last. */
const avoided = new Map<string, number>()

/** Runs `work` on the first server that answers. What a server says is final; only silence leads to the next one. */
export async function withDirectory<T>(
  access: LdapAccess,
  work: (directory: Directory) => Promise<T>,
): Promise<T> {
  const failures: string[] = []
  for (const url of inOrder(access.settings.urls)) {
    try {
      const result = await onServer(access, url, work)
      avoided.delete(url)
      return result
    } catch (error) {
      if (!(error instanceof ServerDown)) throw error
      avoided.set(url, performance.now() + avoidMs)
      failures.push(`${url}: ${error.message}`)
    }
  }
  // Whoever tries to sign in need not know where the directory is: the cause is for the agent's log.
  throw new ProblemError('provider_unreachable', 'no server of the directory answers', {
    cause: new Error(failures.join('; ')),
  })
}

const inOrder = (urls: readonly string[]): string[] => {
  const now = performance.now()
  const isAvoided = (url: string) => (avoided.get(url) ?? 0) > now
  return [...urls].sort((a, b) => Number(isAvoided(a)) - Number(isAvoided(b)))
}

/** Throws ServerDown, or `provider_failed` for what an admin has to mend. */
export async function onServer<T>(
  access: LdapAccess,
  url: string,
  work: (directory: Directory) => Promise<T>,
): Promise<T> {
  const client = await connect(access, url)
  try {
    await bindOurselves(client, access)
    return await work({
      search: (base, filter, attributes) => search(client, base, filter, attributes),
      isPassword: (dn, password) => isPassword(access, url, dn, password),
    })
  } catch (error) {
    throw translated(error)
  } finally {
    await client.unbind().catch(() => undefined)
  }
}

async function connect({ settings }: LdapAccess, url: string): Promise<Client> {
  const tls: ConnectionOptions = { ca: trusted(settings.ca), minVersion: 'TLSv1.2' }
  const { hostname, protocol } = new URL(url)
  const limits = { timeout: answerMs, connectTimeout: connectMs }
  // Told of TLS at all, this client speaks it from the start, whatever the address says.
  if (protocol === 'ldaps:') return new Client({ url, ...limits, tlsOptions: tls })
  const client = new Client({ url, ...limits })
  if (settings.encryption === 'none') return client
  const host = hostname.replace(/^\[|\]$/g, '')
  try {
    // The certificate is checked for this name: without it, any of the authority's would do.
    const named = { ...tls, host, ...(isIP(host) ? {} : { servername: host }) }
    await inTime(client.startTLS(named), connectMs + answerMs)
    return client
  } catch (error) {
    await client.unbind().catch(() => undefined)
    throw translated(error)
  }
}

/** A server that takes the connection and then says nothing. */
async function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ServerDown('it does not go on')), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

async function bindOurselves(client: Client, { settings, secret }: LdapAccess): Promise<void> {
  if (settings.bind_dn === undefined) return
  try {
    await client.bind(settings.bind_dn, secret ?? '')
  } catch (error) {
    if (!(error instanceof InvalidCredentialsError)) throw error
    throw new ProblemError('provider_failed', `the directory refuses the cluster's own account ${settings.bind_dn}`, {
      hint: 'An admin of the cluster has to give its name and password anew: `submarine identity-provider set`.',
      cause: error,
    }) // prettier-ignore
  }
}

async function search(
  client: Client,
  base: string,
  filter: string,
  attributes: readonly string[],
): Promise<Entry[]> {
  try {
    const { searchEntries } = await client.search(base, {
      filter,
      attributes: [...attributes],
      scope: 'sub',
      sizeLimit: mostFound,
      timeLimit: answerMs / 1000,
      explicitBufferAttributes: bufferAttributes,
    })
    return searchEntries
  } catch (error) {
    if (!(error instanceof NoSuchObjectError)) throw error
    throw new ProblemError('provider_failed', `the directory has no ${base}`, {
      hint: 'An admin of the cluster has to correct user_base or group_base of the identity provider.',
      cause: error,
    })
  }
}

/** What Active Directory adds to a refusal although the password was right. */
const notWrong: Readonly<Record<string, string>> = {
  '532': 'the password has expired',
  '533': 'the account is disabled',
  '701': 'the account has expired',
  '773': 'the password has to be changed first',
}

async function isPassword(access: LdapAccess, url: string, dn: string, password: string): Promise<boolean> {
  const client = await connect(access, url)
  try {
    await client.bind(dn, password)
    return true
  } catch (error) {
    if (!(error instanceof InvalidCredentialsError)) throw error
    const why = notWrong[/ data ([0-9a-f]{3}),/.exec(error.message)?.[1] ?? '']
    if (why !== undefined)
      throw new ProblemError('bad_credentials', `the directory says that ${why}`, {
        hint: 'Change it there, or ask those who run the directory.',
        cause: error,
      })
    return false
  } finally {
    await client.unbind().catch(() => undefined)
  }
}

/** A server that says something that is no answer to us is configured wrongly, here or there; all else is silence. */
function translated(error: unknown): unknown {
  if (error instanceof ProblemError || error instanceof ServerDown) return error
  if (error instanceof BusyError || error instanceof UnavailableError)
    return new ServerDown(clip(error.message), { cause: error })
  if (error instanceof ResultCodeError)
    return new ProblemError('provider_failed', `the directory answers: ${clip(error.message)}`, {
      cause: error,
    })
  const { code, message } = error as NodeJS.ErrnoException
  return new ServerDown(
    clip(code === undefined || message.includes(code) ? message : `${code}: ${message}`),
    { cause: error },
  )
}
