/** Copies and texts of whole object graphs: members are nothing but data once their private fields are open. */

/** A deep copy that keeps prototypes, shared references, functions, and whatever is frozen. */
export function copy<T>(value: T): T {
  return copyOf(value, new Map()) as T
}

function copyOf(v: unknown, seen: Map<object, object>): unknown {
  if (typeof v !== 'object' || v === null || v instanceof Uint8Array || Object.isFrozen(v)) return v
  const known = seen.get(v)
  if (known) return known
  if (Array.isArray(v)) {
    const out: unknown[] = []
    seen.set(v, out)
    for (const item of v) out.push(copyOf(item, seen))
    return out
  }
  if (v instanceof Map) {
    const out = new Map<unknown, unknown>()
    seen.set(v, out)
    for (const [key, item] of v) out.set(key, copyOf(item, seen))
    return out
  }
  const out = Object.create(Object.getPrototypeOf(v) as object | null) as Record<string, unknown>
  seen.set(v, out)
  for (const key of Object.keys(v)) out[key] = copyOf((v as Record<string, unknown>)[key], seen)
  return out
}

/** Everything in a graph as a text: equal texts mean equal behaviour. Order of insertion into maps does not count. */
export function textOf(value: unknown): string {
  const parts: string[] = []
  write(value, parts, new Map())
  return parts.join('')
}

function write(v: unknown, out: string[], seen: Map<object, number>): void {
  if (typeof v === 'function') out.push('f')
  else if (typeof v === 'string') out.push(JSON.stringify(v))
  else if (typeof v !== 'object' || v === null) out.push(String(v))
  else if (v instanceof Uint8Array) out.push('<', Buffer.from(v).toString('hex'), '>')
  else if (seen.has(v)) out.push('@', String(seen.get(v)))
  else {
    if (!Object.isFrozen(v)) seen.set(v, seen.size)
    writeObject(v, out, seen)
  }
  out.push(',')
}

function writeObject(v: object, out: string[], seen: Map<object, number>): void {
  if (Array.isArray(v)) {
    out.push('[')
    for (const item of v) write(item, out, seen)
    out.push(']')
    return
  }
  const items: [unknown, unknown][] = v instanceof Map ? [...v] : Object.entries(v)
  if (v instanceof Map) items.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))
  out.push('{')
  for (const [key, item] of items) {
    out.push(String(key), ':')
    write(item, out, seen)
  }
  out.push('}')
}

export function freeze<T>(v: T): T {
  if (typeof v !== 'object' || v === null || v instanceof Uint8Array || Object.isFrozen(v)) return v
  Object.freeze(v)
  for (const item of Object.values(v)) freeze(item as unknown)
  return v
}
