import { contextBridge, ipcRenderer } from 'electron'
import { makeDesktopApi } from '../bridge/preload.ts'

contextBridge.exposeInMainWorld(
  'desktop',
  makeDesktopApi((channel, argument) => ipcRenderer.invoke(channel, argument)),
)
