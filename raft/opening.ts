import type { DriverOptions, OpenOptions } from './driver-api.ts'
import type { RaftNode } from './node.ts'
import { Sessions } from './sessions.ts'
import { restoreFrom } from './snapshots.ts'
import { StoreError, type SnapshotSource } from './store.ts'
import { defaultRaftConfig, type Index, type NodeId } from './types.ts'

export function coreConfig(
  id: NodeId,
  o: DriverOptions,
  applied: Index,
): ConstructorParameters<typeof RaftNode>[0] {
  const { maxMessageBytes, maxUncommittedBytes } = o
  return {
    ...defaultRaftConfig,
    id,
    applied,
    electionTicks: Math.max(2, Math.round(o.electionMs / o.tickMs)),
    heartbeatTicks: Math.max(1, Math.round(o.heartbeatMs / o.tickMs)),
    maxMessageBytes,
    maxUncommittedBytes,
    maxInflightBytes: Math.max(defaultRaftConfig.maxInflightBytes, maxMessageBytes),
  }
}

/** Brings state machine and log together: after a crash, or a state that was thrown away, the snapshot fills the gap. */
export async function openState({
  store,
  stateMachine,
}: Pick<OpenOptions, 'store' | 'stateMachine'>): Promise<{ sessions: Sessions; applied: Index }> {
  const { index } = store.initial()
  const { applied } = stateMachine
  if (applied > store.lastIndex())
    throw new StoreError(
      'corrupt',
      `the state machine has applied ${applied}, but the log ends at ${store.lastIndex()}: one of them is older than the other`,
    )
  if (applied >= index) return { sessions: new Sessions(await stateMachine.sessions()), applied }
  const meta = store.snapshot()
  // The founders' snapshot stands for the empty state.
  if (meta && meta.bytes === 0) return { sessions: new Sessions(), applied: index }
  await readThrough(store.openSnapshot())
  return { sessions: await restoreFrom(store.openSnapshot(), index, stateMachine), applied: index }
}

/** The checksum stands at the end: nothing of a damaged image may reach the state machine. */
async function readThrough(data: SnapshotSource): Promise<void> {
  const pieces = data[Symbol.asyncIterator]()
  while (!(await pieces.next()).done);
}
