import { open } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { isInside } from '../../contract/text.ts'
import { securityHeaders } from '../../contract/csp.ts'

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain; charset=utf-8',
}

/** Serves one folder of files; a path without an extension is a page of the console, which draws itself. */
export async function serveFile(folder: string, pathname: string): Promise<Response> {
  const name = decoded(pathname)
  if (name === undefined || (name !== '' && !isInside(name))) return missing()
  const file = path.extname(name) === '' ? 'index.html' : name
  try {
    const handle = await open(path.join(folder, ...file.split('/')))
    const found = await handle.stat()
    if (!found.isFile()) {
      await handle.close()
      return missing()
    }
    const body = Readable.toWeb(handle.createReadStream()) as ReadableStream<Uint8Array>
    return new Response(body, {
      headers: {
        ...securityHeaders,
        'content-type': types[path.extname(file)] ?? 'application/octet-stream',
        'content-length': String(found.size),
      },
    })
  } catch {
    return missing()
  }
}

/** The path below the folder; undefined when it is no text or hides a slash or NUL in an escape. */
function decoded(pathname: string): string | undefined {
  try {
    const text = decodeURIComponent(pathname.slice(1))
    return text.includes('\0') ? undefined : text.replace(/\/$/, '')
  } catch {
    return undefined
  }
}

const missing = () => new Response('not found', { status: 404, headers: securityHeaders })
