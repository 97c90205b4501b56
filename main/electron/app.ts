import { app, Menu, protocol, type CustomScheme, type MenuItemConstructorOptions } from 'electron'

/** What must happen before Electron is ready; answers false in a second process, which has to leave. */
export function prepareApp(scheme: CustomScheme): boolean {
  app.enableSandbox()
  protocol.registerSchemesAsPrivileged([scheme])
  return app.requestSingleInstanceLock()
}

export const whenReady = (): Promise<void> => app.whenReady()
/** A start that failed leaves no window behind that could tell. */
export function fail(error: unknown): void {
  console.error(error)
  app.exit(1)
}
export const quit = (): void => app.quit()
export const isDevelopment = (): boolean => !app.isPackaged
export const dataFolder = (): string => app.getPath('userData')

export const onSecondStart = (listener: () => void): void => void app.on('second-instance', listener)
export const onAllWindowsClosed = (listener: () => void): void => void app.on('window-all-closed', listener)
export const setMenu = (template: MenuItemConstructorOptions[]): void =>
  Menu.setApplicationMenu(Menu.buildFromTemplate(template))
