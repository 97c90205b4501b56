import path from 'node:path'
import { serveBridge } from './bridge/serve.ts'
import { createApiProxy } from './desktop/api-proxy.ts'
import { createConnections, learnMembers } from './desktop/connections.ts'
import { createConsoleHandler } from './desktop/console-handler.ts'
import { CurrentCluster } from './desktop/current-cluster.ts'
import { menuTemplate } from './desktop/menu.ts'
import { ProfileStore } from './desktop/profiles.ts'
import {
  allowsPermission,
  consoleOrigin,
  consoleScheme,
  guardNavigation,
  windowOptions,
} from './desktop/window-policy.ts'
import * as app from './electron/app.ts'
import { desk } from './electron/desk.ts'
import { ipc } from './electron/ipc.ts'
import { serveScheme, setPermissions } from './electron/session.ts'
import { openWindow } from './electron/window.ts'

/** Built, this file is main/out/index.js; the page's files lie beside it and in renderer/dist. */
const here = import.meta.dirname
const folders = { console: path.join(here, '../../renderer/dist'), connect: path.join(here, 'connect') }

async function start(): Promise<void> {
  await app.whenReady()
  const store = await ProfileStore.open(path.join(app.dataFolder(), 'connections.json'))
  const cluster = new CurrentCluster()
  await cluster.show(store.current)

  const connections = createConnections(store, cluster, desk)
  serveBridge(ipc, connections)
  const proxy = createApiProxy(cluster, () => learnMembers(store, cluster))
  serveScheme(
    'app',
    createConsoleHandler(folders, proxy, () => cluster.profile !== undefined),
  )
  setPermissions(allowsPermission)

  const openLink = (url: string) => void connections['links.open']({ url }).catch(() => undefined)
  const window = openWindow(windowOptions(path.join(here, 'preload.cjs')), guardNavigation, openLink)
  app.setMenu(menuTemplate(() => window.load(`${consoleOrigin}/connect/`), app.isDevelopment()))
  app.onSecondStart(() => window.toFront())
  app.onAllWindowsClosed(() => app.quit())
  window.load(`${consoleOrigin}/`)
}

if (app.prepareApp(consoleScheme)) start().catch(app.fail)
else app.quit()
