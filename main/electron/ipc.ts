import { ipcMain } from 'electron'
import type { IpcPort } from '../bridge/serve.ts'

export const ipc: IpcPort = {
  handle: (channel, listener) =>
    ipcMain.handle(channel, (event, argument: unknown) => listener(event, argument)),
}
