import { NONE, type Index, type NodeId } from './types.ts'

/** What only a leader has; thrown away with leadership. */
export interface LeaderState {
  /** Leadership is being handed to this member; proposals are refused meanwhile (thesis 3.10). */
  transferee: NodeId
  /** No configuration change may be proposed before this index is applied: at most one is under way. */
  pendingConfIndex: Index
  /** Bytes of proposals appended and not yet applied. An underestimate after an election. */
  uncommittedBytes: number
  /** Entries or a commit index wait to be sent. Done once per Ready, so proposals of one moment share a message. */
  unsent: boolean
  readonly reads: ReadQueue
}

export interface ReadRequest {
  readonly id: string
  readonly from: NodeId
  /** The commit index when the request came in: what the reader must have applied. */
  readonly index: Index
}

/** Read requests waiting for a heartbeat round; confirmed by position, so an old acknowledgement never confirms a new read. */
export interface ReadQueue {
  confirmed: number
  unconfirmed: ReadRequest[]
  readonly acks: Map<NodeId, number>
  /** Requests that came before the first commit of this term (thesis 6.4, step 1). */
  early: { readonly id: string; readonly from: NodeId }[]
}

export function noLeadership(): LeaderState {
  return {
    transferee: NONE,
    pendingConfIndex: 0,
    uncommittedBytes: 0,
    unsent: false,
    reads: { confirmed: 0, unconfirmed: [], acks: new Map(), early: [] },
  }
}
