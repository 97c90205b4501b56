import { protocol, session } from 'electron'
import type { PageRequest } from '../desktop/api-proxy.ts'

/** Serves app://… from this process. */
export const serveScheme = (scheme: string, handler: (request: PageRequest) => Promise<Response>): void =>
  protocol.handle(scheme, (request) => handler(request))

/** Both handlers: one is asked when a page requests, the other whenever it merely looks. */
export function setPermissions(allows: (permission: string, origin: string) => boolean): void {
  const { defaultSession } = session
  defaultSession.setPermissionRequestHandler((_contents, permission, done, details) => {
    done(allows(permission, details.requestingUrl))
  })
  defaultSession.setPermissionCheckHandler((_contents, permission, origin) => allows(permission, origin))
  defaultSession.setDevicePermissionHandler(() => false)
}
