export * from './types.ts'
export { applyConfChange, confEqual, isJoint, isVoter, members } from './confchange.ts'
export { decodeConfChange, decodeMessage, encodeConfChange, encodeMessage } from './codec.ts'
export { crc32c } from './crc32c.ts'
export type { TraceEvent } from './core.ts'
export type { Proposed } from './leader.ts'
export { RaftNode, type PeerStatus, type Ready, type Status } from './node.ts'
export {
  StoreError,
  type HeldSnapshot,
  type LogStore,
  type SnapshotBytes,
  type SnapshotPoint,
  type SnapshotSource,
  type StoreErrorCode,
} from './store.ts'
export { MemoryStore } from './memory-store.ts'
export type { Disk, FileWriter, KeyValue, KvOp } from './disk.ts'
export { DiskStore } from './disk-store.ts'
export type { StoreIdentity } from './disk-load.ts'
export { levelDisk } from './level-disk.ts'
export { findLevelDamage } from './leveldb-check.ts'
export { FrameParser, MAX_FRAME, frame } from './frames.ts'
export { PeerStream } from './peer-stream.ts'
export { receiveSnapshot, writeSnapshot } from './snapshot-stream.ts'
export { systemEnv, type Env } from './env.ts'
export { splitRows, type SessionRow } from './sessions.ts'
export {
  defaultDriverOptions,
  type Applied,
  type DriverOptions,
  type Logger,
  type OpenOptions,
  type StateMachine,
  type Transport,
} from './driver-api.ts'
export { RaftDriver } from './driver.ts'
export { beginWith, replayAll, type Replayed } from './recovery.ts'
export { describeConf, describeEntry, describeMessage, describeReady, describeStatus } from './describe.ts'
