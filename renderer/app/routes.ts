/** Every page and its path. A link to a page that is not here does not compile. */
export const paths = {
  overview: '/',
  experiments: '/experiments',
  newExperiment: '/experiments/new',
  experiment: '/experiments/{id}',
  nodes: '/nodes',
  node: '/nodes/{name}',
  queue: '/queue',
  images: '/images',
  secrets: '/secrets',
  people: '/people',
  events: '/events',
  settings: '/settings',
  about: '/about',
} as const

export type PageName = keyof typeof paths
type Names<P extends string> = P extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never
export type Params<K extends PageName> = Record<Names<(typeof paths)[K]>, string>
type Query = Record<string, string | undefined>

export interface Place {
  readonly page: PageName
  readonly params: Readonly<Record<string, string>>
}

/** The address of a page: `href('experiment', {id}, {tab: 'log'})`. */
export function href<K extends PageName>(
  page: K,
  ...[params, query]: [Names<(typeof paths)[K]>] extends [never]
    ? [params?: undefined, query?: Query]
    : [params: Params<K>, query?: Query]
): string {
  const given: Record<string, string> = params ?? {}
  const path = paths[page].replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(given[name] ?? ''),
  )
  return path + searchOf(query ?? {})
}

/** Which page an address names; nothing for addresses that name none. */
export function match(pathname: string): Place | undefined {
  const asked = split(pathname)
  // Literal paths stand before those with parameters in the table, so `/experiments/new` is never an id.
  for (const page of Object.keys(paths) as PageName[]) {
    const params = matchParts(split(paths[page]), asked)
    if (params) return { page, params }
  }
  return undefined
}

function matchParts(
  pattern: readonly string[],
  asked: readonly string[],
): Record<string, string> | undefined {
  if (pattern.length !== asked.length) return undefined
  const params: Record<string, string> = {}
  for (const [at, part] of pattern.entries()) {
    const given = asked[at] ?? ''
    if (part.startsWith('{')) {
      const value = decode(given)
      if (!value) return undefined
      params[part.slice(1, -1)] = value
    } else if (part !== given) return undefined
  }
  return params
}

const split = (path: string) => path.split('/').filter((part) => part !== '')

/** `%zz` in a typed address must not break the page. */
function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

/** `?a=b`, leaving out what is undefined or empty. */
export function searchOf(query: Query): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) if (value) search.set(key, value)
  return search.size ? `?${search.toString()}` : ''
}
