// `npm run demo`: installs what is missing and starts the demo on the pinned Node. Plain JavaScript for Node 18.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureInstalled } from '../../cli/install.js'
import { become, findNode, findScript, orFail } from '../../cli/node24.js'

const here = path.dirname(fileURLToPath(import.meta.url))

orFail(() => {
  process.chdir(path.join(here, '../..'))
  ensureInstalled()
  // The console that the agents serve; building it anew takes seconds and is never behind the source.
  const build = ['build', '--config', 'renderer/vite.config.ts', '--logLevel', 'warn']
  const { status } = spawnSync(findNode(), [findScript('vite'), ...build], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) throw new Error('The console could not be built. See the lines above.')
  become(path.join(here, 'demo.ts'), process.argv.slice(2))
})
