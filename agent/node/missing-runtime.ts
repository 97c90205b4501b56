import type { RuntimeName } from '../../contract/index.ts'
import { type Runtime, StartFailure } from './runtime.ts'

/** Stands in for a runtime this agent was started without: whatever is placed on it fails and says why. */
export function missingRuntime(name: RuntimeName): Runtime {
  const failure = () =>
    new StartFailure(
      'runtime_missing',
      `This node has no ${name} runtime any more. Start its agent with it, or submit the experiment again.`,
    )
  return {
    name,
    start: () => Promise.reject(failure()),
    list: () => Promise.resolve([]),
    wait: () => Promise.reject(failure()),
    stop: () => Promise.resolve(),
    remove: () => Promise.resolve(),
    log: async function* () {
      return
    },
  }
}
