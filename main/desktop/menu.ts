import type { MenuItemConstructorOptions } from 'electron'

/** The application menu as data. Roles bring the platform's own words and keys. */
export function menuTemplate(
  showConnections: () => void,
  development: boolean,
): MenuItemConstructorOptions[] {
  return [
    {
      label: 'Cluster',
      submenu: [{ label: 'Connections…', click: showConnections }, { type: 'separator' }, { role: 'quit' }],
    },
    { role: 'editMenu' },
    {
      label: 'View',
      submenu: [
        { role: 'reload' },
        { role: 'resetZoom' },
        { role: 'zoomIn' },
        { role: 'zoomOut' },
        { role: 'togglefullscreen' },
        ...(development ? [{ role: 'toggleDevTools' } as const] : []),
      ],
    },
    { role: 'windowMenu' },
  ]
}
