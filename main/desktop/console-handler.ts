import type { ApiProxy, PageRequest } from './api-proxy.ts'
import { securityHeaders } from '../../contract/csp.ts'
import { serveFile } from './files.ts'
import { isConsole } from './window-policy.ts'

export interface ConsoleFolders {
  /** The built console. */
  console: string
  /** The page that asks which cluster to connect to. */
  connect: string
}

/** Everything under app://console: the API, the connect page, and the console itself once a cluster is chosen. */
export function createConsoleHandler(
  folders: ConsoleFolders,
  api: ApiProxy,
  hasCluster: () => boolean,
): (request: PageRequest) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url)
    if (!isConsole(request.url)) return new Response('not found', { status: 404, headers: securityHeaders })
    if (pathname.startsWith('/api/')) return api.handle(request)
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return new Response('method not allowed', { status: 405, headers: securityHeaders })
    if (pathname.startsWith('/connect/')) return serveFile(folders.connect, pathname.slice('/connect'.length))
    return serveFile(hasCluster() ? folders.console : folders.connect, pathname)
  }
}
