/** A line of the log for people: the time of day, how bad it is, what happened, and about what. */
export function readable(line: string, colours: boolean): string {
  const { time, level, msg, agent: _agent, err, ...fields } = JSON.parse(line) as Record<string, unknown>
  const failure = err as { message?: string; stack?: string } | undefined
  const about = Object.entries(fields).map(([name, value]) => ` ${name}=${valueText(value)}`)
  const why = failure?.message === undefined ? '' : `: ${failure.message}`
  const said = typeof msg === 'string' ? msg : ''
  const bad = level === 'error' || level === 'fatal'
  const stack = bad && failure?.stack ? `${failure.stack.replace(/^/gm, '    ')}\n` : ''
  const text = `${String(level).toUpperCase().padEnd(5)} ${said}${why}`
  const paint = (code: number, what: string) => (colours ? `\u001b[${code}m${what}\u001b[0m` : what)
  const shown = bad ? paint(31, text) : level === 'warn' ? paint(33, text) : text
  return `${paint(2, String(time).slice(11, 23))} ${shown}${paint(2, about.join(''))}\n${stack}`
}

function valueText(value: unknown): string {
  return typeof value === 'string' && /^[\w.:/@-]+$/.test(value) ? value : JSON.stringify(value)
}
