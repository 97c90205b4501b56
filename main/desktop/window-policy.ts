import type { BrowserWindowConstructorOptions, CustomScheme } from 'electron'

export const consoleOrigin = 'app://console'

/** Must be registered before the app is ready. No bypassCSP, no service workers: nothing outlives the page. */
export const consoleScheme: CustomScheme = {
  scheme: 'app',
  privileges: { standard: true, secure: true, supportFetchAPI: true, stream: true },
}

/** Several are Electron's defaults; they are stated so that a change of defaults changes nothing here. */
export function windowOptions(preload: string): BrowserWindowConstructorOptions {
  return {
    width: 1360,
    height: 880,
    minWidth: 720,
    minHeight: 480,
    show: false,
    autoHideMenuBar: true,
    backgroundColor: '#101418',
    webPreferences: {
      preload,
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      nodeIntegrationInSubFrames: false,
      nodeIntegrationInWorker: false,
      webSecurity: true,
      allowRunningInsecureContent: false,
      experimentalFeatures: false,
      webviewTag: false,
      spellcheck: false,
    },
  }
}

/** Is a URL part of the console? Compared part by part, never as a prefix. */
export function isConsole(address: string): boolean {
  const url = URL.parse(address)
  return url?.protocol === 'app:' && url.host === 'console' && url.username === '' && url.password === ''
}

/** For every kind of navigation, of the window and of frames in it: the console stays, all else is stopped. */
export function guardNavigation(event: { readonly url: string; preventDefault(): void }): void {
  if (!isConsole(event.url)) event.preventDefault()
}

const allowedPermissions = new Set(['clipboard-sanitized-write', 'notifications'])

/** For the request and the check handler alike: two harmless permissions, for our own page. */
export const allowsPermission = (permission: string, origin: string): boolean =>
  allowedPermissions.has(permission) && isConsole(origin)

/** Links leave the app only over https, to a host of the cluster itself, and after a person confirmed. */
export function allowsLink(address: string, clusterAddresses: readonly string[]): boolean {
  const url = URL.parse(address)
  if (url?.protocol !== 'https:' || url.username || url.password) return false
  return clusterAddresses.some((known) => URL.parse(known)?.hostname === url.hostname)
}
