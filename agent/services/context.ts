import type { Actor, BackupRequest, JoinReply, JoinRequest } from '../../contract/index.ts'
import type { CaRotation } from '../cluster/ca-rotation.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { AuditNote } from '../cluster/commands/audit.ts'
import type { Family } from '../monitoring/family.ts'
import type { Blobs, Space, Streams } from '../store/store.ts'
import type { Submitter } from '../submitters/submitter.ts'

/** What the services stand on; the agent hands it in, tests hand in doubles. */
export interface ServiceDeps {
  readonly cluster: Cluster
  readonly blobs: Blobs
  readonly streams: Streams
  readonly space: Space
  readonly submitter: Submitter
  /** Does the same work for a user nobody knows (no hash), and answers no. */
  readonly verifyPassword: (password: string, hashed: string | undefined) => Promise<boolean>
  readonly hashPassword: (password: string) => Promise<string>
  /** Let a host in: check its join token, sign its certificate, make it a member. */
  readonly admit: (request: JoinRequest) => Promise<JoinReply>
  /** The sealed state, as bytes of a file. */
  readonly backup: (request: BackupRequest) => Promise<AsyncIterable<Uint8Array>>
  /** Replaces the cluster key, and wraps by the new one whatever the old one protects. */
  readonly rotateKey: (actor: Actor) => Promise<void>
  /** Who signs the nodes' certificates. */
  readonly authority: Pick<CaRotation, 'rotate' | 'finish'>
  /** This agent's metrics, as they are now. */
  readonly families: () => readonly Family[]
  /** Seals a text by the cluster key, here or on a voter. */
  readonly seal: (text: string, context: string) => Promise<string>
  /** Opens what `seal` sealed for the same context. */
  readonly open: (sealed: string, context: string) => Promise<string>
  /** Keeps refused calls of those who are not signed in. */
  readonly strangers?: (note: AuditNote) => void
  readonly version: string
  readonly demo: boolean
  /** Wall clock, ms: what people see. */
  readonly now?: () => number
  /** Largest upload, bytes. */
  readonly maxUpload?: number
}

/** strong: as new as every acknowledged write. local: this agent's own copy, which may be old. */
export type Consistency = 'strong' | 'local'

export async function settled(cluster: Cluster, consistency: Consistency): Promise<void> {
  if (consistency === 'strong') await cluster.barrier()
}
