/** A file name for a task: whatever its id holds, it names nothing outside its folder. */
export function taskKey(task: string): string {
  return encodeURIComponent(task).replaceAll('.', '%2E')
}

/** A file name for an attempt, and what tells it from all others on this node. */
export function attemptKey(task: string, attempt: number): string {
  return `${taskKey(task)}.${attempt}`
}

/** The attempt a key was made of; undefined when it is none. */
export function parseKey(key: string): { task: string; attempt: number } | undefined {
  const match = /^([^.]+)\.(\d+)$/.exec(key)
  if (!match?.[1]) return undefined
  try {
    return { task: decodeURIComponent(match[1]), attempt: Number(match[2]) }
  } catch {
    return undefined
  }
}
