import { BrowserWindow, type BrowserWindowConstructorOptions } from 'electron'

export interface ConsoleWindow {
  load(url: string): void
  toFront(): void
}

export interface NavigationEvent {
  readonly url: string
  preventDefault(): void
}

/** The one window. `guard` stops what must not be loaded; no link opens a window, it is given to `onLink`. */
export function openWindow(
  options: BrowserWindowConstructorOptions,
  guard: (event: NavigationEvent) => void,
  onLink: (url: string) => void,
): ConsoleWindow {
  const window = new BrowserWindow(options)
  const { webContents } = window
  webContents.on('will-navigate', guard)
  webContents.on('will-frame-navigate', guard)
  webContents.on('will-redirect', guard)
  webContents.on('will-attach-webview', (event) => event.preventDefault())
  webContents.setWindowOpenHandler(({ url }) => {
    onLink(url)
    return { action: 'deny' }
  })
  window.once('ready-to-show', () => window.show())
  return {
    load: (url) => void window.loadURL(url),
    toFront: () => {
      window.restore()
      window.focus()
    },
  }
}
