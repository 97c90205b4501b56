/** A file to be packed; `path` is relative, with "/" between its parts. */
export interface TarEntry {
  readonly path: string
  readonly file: Blob
  /** Milliseconds since 1970. */
  readonly modified?: number
}

const block = 512
/** What eleven octal digits can say. */
const octalLimit = 8 * 1024 ** 3
const encoder = new TextEncoder()

/**
 * A tar archive (POSIX ustar; pax records for what ustar cannot say). Files are referred to, not read: the browser
 * streams them from disk while the archive is uploaded.
 */
export function packTar(entries: readonly TarEntry[]): Blob {
  const parts: (Blob | Uint8Array<ArrayBuffer>)[] = []
  for (const { path, file, modified = 0 } of entries) {
    const records = paxRecords(path, file.size)
    if (records.length) {
      parts.push(
        header({ name: 'pax', size: records.length, type: 'x', modified }),
        records,
        padding(records.length),
      )
    }
    parts.push(header({ name: path, size: file.size, type: '0', modified }), file, padding(file.size))
  }
  parts.push(new Uint8Array(2 * block))
  return new Blob(parts, { type: 'application/x-tar' })
}

interface HeaderFields {
  readonly name: string
  readonly size: number
  readonly type: '0' | 'x'
  readonly modified: number
}

function header({ name, size, type, modified }: HeaderFields): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(block)
  const write = (at: number, value: Uint8Array) => bytes.set(value, at)
  const octal = (at: number, width: number, value: number) =>
    write(at, encoder.encode(`${value.toString(8).padStart(width - 1, '0')}\0`))
  const split = splitName(name)
  write(0, split?.name ?? encoder.encode(name).subarray(0, 100))
  octal(100, 8, 0o644)
  octal(108, 8, 0)
  octal(116, 8, 0)
  octal(124, 12, size < octalLimit ? size : 0)
  octal(136, 12, Math.max(0, Math.floor(modified / 1000)))
  bytes.fill(0x20, 148, 156)
  write(156, encoder.encode(type))
  write(257, encoder.encode('ustar\0' + '00'))
  write(345, split?.prefix ?? new Uint8Array())
  const sum = bytes.reduce((all, byte) => all + byte, 0)
  write(148, encoder.encode(`${sum.toString(8).padStart(6, '0')}\0 `))
  return bytes
}

/** ustar keeps 100 bytes of name and 155 of prefix, cut at a slash; nothing when the path does not fit or is not ASCII. */
function splitName(path: string): { name: Uint8Array; prefix: Uint8Array } | undefined {
  const bytes = encoder.encode(path)
  if (bytes.length !== path.length) return undefined
  if (bytes.length <= 100) return { name: bytes, prefix: new Uint8Array() }
  const cut = path.indexOf('/', path.length - 101)
  if (cut < 1 || cut > 155 || cut === path.length - 1) return undefined
  return { name: bytes.subarray(cut + 1), prefix: bytes.subarray(0, cut) }
}

function paxRecords(path: string, size: number): Uint8Array<ArrayBuffer> {
  const records: Uint8Array[] = []
  if (!splitName(path)) records.push(record('path', path))
  if (size >= octalLimit) records.push(record('size', String(size)))
  const all = new Uint8Array(records.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const one of records) {
    all.set(one, at)
    at += one.length
  }
  return all
}

/** `LENGTH key=value\n`, where LENGTH counts its own digits too. */
function record(key: string, value: string): Uint8Array {
  const rest = encoder.encode(` ${key}=${value}\n`).length
  let length = rest + String(rest).length
  if (rest + String(length).length !== length) length = rest + String(length).length
  return encoder.encode(`${length} ${key}=${value}\n`)
}

const padding = (size: number) => new Uint8Array((block - (size % block)) % block)
