import type { Experiment, ExperimentPatch } from '../../../contract/objects.ts'

/** Tags as people write them: one KEY=VALUE on each line. */
export const tagLines = (tags: Experiment['tags']): string =>
  Object.entries(tags)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n')

export function tagsFrom(text: string): { tags: Record<string, string> } | { error: string } {
  const tags: Record<string, string> = {}
  for (const line of text.split('\n').filter((one) => one.trim())) {
    const at = line.indexOf('=')
    const key = line.slice(0, Math.max(0, at)).trim()
    if (!key) return { error: `expected KEY=VALUE, not ${JSON.stringify(line.trim().slice(0, 60))}` }
    if (Object.hasOwn(tags, key)) return { error: `${key} is given twice` }
    tags[key] = line.slice(at + 1).trim()
  }
  return { tags }
}

/** Only what was changed, so that what others changed meanwhile stays. */
export function patchOf(
  before: Pick<Experiment, 'description' | 'tags'>,
  after: { description: string; tags: Readonly<Record<string, string>> },
): ExperimentPatch {
  const tags: Record<string, string | null> = {}
  for (const [key, value] of Object.entries(after.tags)) if (before.tags[key] !== value) tags[key] = value
  for (const key of Object.keys(before.tags)) if (!Object.hasOwn(after.tags, key)) tags[key] = null
  return {
    ...(after.description === before.description ? {} : { description: after.description }),
    ...(Object.keys(tags).length ? { tags } : {}),
  }
}
