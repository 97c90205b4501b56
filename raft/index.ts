export * from './types.ts'
export { applyConfChange, confEqual, isJoint, isVoter, members } from './confchange.ts'
export { decodeConfChange, decodeMessage, encodeConfChange, encodeMessage } from './codec.ts'
export { crc32c } from './crc32c.ts'
export type { TraceEvent } from './core.ts'
export type { Proposed } from './leader.ts'
export { RaftNode, type PeerStatus, type Ready, type Status } from './node.ts'
export {
  StoreError,
  type LogStore,
  type SnapshotPoint,
  type SnapshotSource,
  type StoreErrorCode,
} from './store.ts'
export { MemoryStore } from './memory-store.ts'
export { LevelLogStore, type StoreIdentity } from './leveldb-store.ts'
export {
  FrameParser,
  MAX_FRAME,
  PeerStream,
  frame,
  readSnapshot,
  receiveSnapshot,
  writeSnapshot,
} from './stream.ts'
export type { IncomingSnapshot } from './stream.ts'
export { systemEnv, type Env } from './env.ts'
export type { SessionRow } from './sessions.ts'
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
export { describeConf, describeEntry, describeMessage, describeReady, describeStatus } from './describe.ts'
