import { dialog, shell } from 'electron'
import type { Desk } from '../desktop/connections.ts'

/** The desktop around the app. */
export const desk: Desk = {
  confirmLink: async (url) => {
    const { response } = await dialog.showMessageBox({
      type: 'question',
      message: 'Open this address in the browser?',
      detail: url,
      buttons: ['Cancel', 'Open'],
      defaultId: 0,
      cancelId: 0,
    })
    return response === 1
  },
  openLink: (url) => shell.openExternal(url),
}
