import { Name, ProblemError } from '../../../contract/index.ts'

/** Somebody, as a provider vouches for them. */
export interface Person {
  /** Stays the same when they are renamed, and is never given to somebody else. */
  readonly id: string
  readonly name: string
  readonly display_name?: string
  readonly email?: string
  /** All spellings by which a group may be named here. */
  readonly groups: readonly string[]
}

/**
 * The name that somebody has here. A domain is cut off only if it is one of those that are expected: `ana@elsewhere` must
 * not become the `ana` of this lab.
 */
export function nameHere(given: string, domains: readonly string[]): string {
  const at = given.lastIndexOf('@')
  const domain = at < 0 ? '' : given.slice(at + 1).toLowerCase()
  if (at >= 0 && !domains.some((one) => one.toLowerCase() === domain))
    throw new ProblemError('provider_failed', `the provider calls you ${clip(given)}, with a domain`, {
      hint: 'An admin of the cluster can allow that domain in the settings of the identity provider (domains), or name another claim or attribute for names.',
    })
  const name = at < 0 ? given : given.slice(0, at)
  if (Name.safeParse(name).success) return name
  throw new ProblemError('provider_failed', `the provider calls you ${clip(given)}, which is no name here`, {
    hint: 'Names have letters, digits, ".", "_" and "-". An admin of the cluster can name another claim or attribute for them.',
  })
}

/** What a provider says fills no log and no screen. */
export const clip = (text: string): string => {
  const line = text.replaceAll(/[\u0000-\u001f\u007f]+/g, ' ')
  return line.length > 200 ? `${line.slice(0, 200)}…` : line
}

/** Texts for people, from whatever a provider sent. */
export function shortText(value: unknown, max: number): string | undefined {
  if (typeof value !== 'string') return undefined
  const line = clip(value).trim()
  return line === '' || line.length > max ? undefined : line
}
