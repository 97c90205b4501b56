import type { Experiment } from '../../../contract/objects.ts'
import { isFinal } from '../../../contract/states.ts'
import type { Console } from '../../app/context.ts'

export const canStop = ({ state, stop_requested }: Experiment): boolean => !isFinal(state) && !stop_requested
export const canDelete = ({ state }: Experiment): boolean => isFinal(state)

/** Stop each; failures are told one by one. */
export async function stopAll(
  { api, cluster, notices }: Console,
  experiments: readonly Experiment[],
): Promise<void> {
  for (const { id, name } of experiments)
    try {
      cluster.show(await api.call('experiments.stop', { params: { experiment: id } }))
      notices.good(`Stopping ${name}`)
    } catch (error) {
      notices.bad(`${name} could not be stopped`, error)
    }
}

/** Delete each; answers whether all are gone. */
export async function deleteAll(
  { api, notices }: Console,
  experiments: readonly Experiment[],
): Promise<boolean> {
  let gone = true
  for (const { id, name } of experiments)
    try {
      await api.call('experiments.delete', { params: { experiment: id } })
      notices.good(`Deleted ${name}`)
    } catch (error) {
      gone = false
      notices.bad(`${name} could not be deleted`, error)
    }
  return gone
}
