/** A known bug of a real implementation, as a patch against this repository. */
export interface Mutation {
  readonly name: string
  readonly bug: string
  readonly source: string
  readonly breaks: string
  readonly files: readonly FilePatch[]
}

interface FilePatch {
  readonly path: string
  readonly hunks: readonly Hunk[]
}

/** Lines as they stand now, and as they shall be. */
interface Hunk {
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** Reads a patch: the lines `Bug:`, `Source:` and `Breaks:`, then a unified diff. */
export function parseMutation(name: string, patch: string): Mutation {
  const [head = '', ...parts] = patch.split(/^--- a\//m)
  const field = (key: string): string => {
    const value = new RegExp(`^${key}: (.+)$`, 'm').exec(head)?.[1]
    if (!value) throw new Error(`${name}: the line "${key}: …" is missing before the diff`)
    return value
  }
  if (parts.length === 0) throw new Error(`${name}: there is no diff`)
  return {
    name,
    bug: field('Bug'),
    source: field('Source'),
    breaks: field('Breaks'),
    files: parts.map((part) => parseFile(name, part)),
  }
}

function parseFile(name: string, part: string): FilePatch {
  const [head = '', ...bodies] = part.split(/^@@ .*@@.*\n/m)
  const path = head.split('\n')[0] ?? ''
  if (!head.includes(`+++ b/${path}\n`) || bodies.length === 0)
    throw new Error(`${name}: the diff of ${path} is no unified diff of one file`)
  return { path, hunks: bodies.map(parseHunk) }
}

function parseHunk(body: string): Hunk {
  const lines = body.replace(/\n$/, '').split('\n')
  // An editor may have cut the blank of an empty context line.
  const side = (mark: string) =>
    lines.filter((l) => l === '' || l[0] === ' ' || l[0] === mark).map((l) => l.slice(1))
  return { before: side('-'), after: side('+') }
}

/**
 * The text with the patch applied. Lines may have moved, but must be there word for word and once: a patch that no
 * longer fits would otherwise plant nothing, or something else.
 */
export function applyPatch(name: string, { path, hunks }: FilePatch, text: string): string {
  let lines = text.split('\n')
  for (const { before, after } of hunks) {
    const places = lines.flatMap((_, at) => (before.every((l, i) => lines[at + i] === l) ? [at] : []))
    const [at] = places
    if (at === undefined || places.length > 1)
      throw new Error(
        `${name} no longer applies to ${path}: these lines are found ${places.length} times, not once:\n${before.join('\n')}`,
      )
    lines = [...lines.slice(0, at), ...after, ...lines.slice(at + before.length)]
  }
  return lines.join('\n')
}
