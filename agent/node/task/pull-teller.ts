import { formatBytes, type Reason } from '../../../contract/index.ts'
import type { Launch } from '../runtime.ts'

/** So many times at most the log hears of one image on its way: live figures travel with the heartbeat. */
const steps = 10

/** Tells why a task does not run yet while its image comes: when it begins, and each tenth of the way. */
export function pullTeller(tell: (reason: Reason) => void): NonNullable<Launch['onPull']> {
  let told = -1
  return (image, { bytes, total }) => {
    const step = total ? Math.min(steps, Math.floor((bytes / total) * steps)) : 0
    if (step <= told) return
    told = step
    const far = total ? `: ${formatBytes(bytes)} of ${formatBytes(total)}` : ''
    tell({ code: 'pulling', message: `this node is getting the image ${image}${far}` })
  }
}
