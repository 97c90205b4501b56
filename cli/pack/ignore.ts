/** Never of use to a run, often huge. */
const always = new Set(['.git', 'node_modules', '__pycache__'])

interface Rule {
  readonly pattern: RegExp
  readonly keep: boolean
  readonly folderOnly: boolean
}

export type Ignores = (path: string, isFolder: boolean) => boolean

/** Rules of a `.submarineignore`, written as in a .gitignore: the last one that matches decides. */
export function readIgnores(text: string): Ignores {
  const rules = text.split(/\r?\n/).flatMap((line) => readRule(line))
  return (path, isFolder) => {
    if (always.has(path.slice(path.lastIndexOf('/') + 1))) return true
    const last = rules.findLast((rule) => (isFolder || !rule.folderOnly) && rule.pattern.test(path))
    return last !== undefined && !last.keep
  }
}

function readRule(line: string): Rule[] {
  let glob = line.replace(/(?<!\\)\s+$/, '')
  if (glob === '' || glob.startsWith('#')) return []
  const keep = glob.startsWith('!')
  if (keep) glob = glob.slice(1)
  const folderOnly = glob.endsWith('/')
  if (folderOnly) glob = glob.slice(0, -1)
  // A slash at the beginning or within ties the pattern to the top folder.
  const anchored = glob.includes('/')
  const body = globPattern(glob.replace(/^\//, ''))
  return [{ pattern: new RegExp(`^${anchored ? '' : '(?:.*/)?'}${body}$`), keep, folderOnly }]
}

/** A glob as the text of a regular expression: `*`, `?`, `[a-z]`, `[!a]`, `**` and backslash escapes. */
function globPattern(glob: string): string {
  const token = /\\(.)|(^|\/)\*\*(\/|$)|\*+|\?|\[(!|\^)?([^\]]+)\]|[^]/g
  return glob.replaceAll(
    token,
    (whole: string, escaped?: string, before?: string, after?: string, not?: string, set?: string) => {
      if (escaped !== undefined) return quote(escaped)
      if (before !== undefined) return after === '/' ? `${before}(?:.*/)?` : `${before}.+`
      if (whole.startsWith('*')) return '[^/]*'
      if (whole === '?') return '[^/]'
      if (set !== undefined) return `[${not ? '^' : ''}${set.replaceAll(/[\\^]/g, '\\$&')}]`
      return quote(whole)
    },
  )
}

const quote = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')
