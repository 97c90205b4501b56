import { createContext } from 'svelte'
import type { Api } from '../api/client.ts'
import type { ClusterState } from '../state/cluster.svelte.ts'
import type { Notices } from '../state/notices.svelte.ts'
import type { Preferences } from '../state/preferences.svelte.ts'
import type { Session } from '../state/session.svelte.ts'
import type { Router } from './router.svelte.ts'

/** What every page may use. Made once in App; a test passes its own. */
export interface Console {
  readonly api: Api
  readonly session: Session
  readonly cluster: ClusterState
  readonly router: Router
  readonly preferences: Preferences
  readonly notices: Notices
}

const [getConsole, setConsole] = createContext<Console>()
export { getConsole, setConsole }
