import type { ImagePolicy, Reason } from '../../../contract/index.ts'
import type { EngineImage, ImageManifest } from '../state.ts'

/** What changes images, where they are, and whom they are pulled from. */
export type ImageCommand =
  /** Its blobs are durable on `holders`. A name that another image has becomes this one's. */
  | {
      type: 'image.import'
      digest: string
      media_type: string
      manifests: readonly ImageManifest[]
      names: readonly string[]
      holders: readonly string[]
      created_at: string | null
    }
  /** Further nodes keep all its blobs. */
  | { type: 'image.hold'; digest: string; holders: readonly string[] }
  /** Only the name, unless it is the last one or none is given. */
  | { type: 'image.remove'; digest: string; name?: string }
  /** These nodes shall bring the image into their engines, or remove it from them. */
  | { type: 'image.job'; kind: 'pull' | 'remove'; image: string; nodes: readonly string[] }
  /** A node did it, or failed for a reason that trying again does not mend. */
  | { type: 'image.done'; node: string; image: string; reason?: Reason }
  | { type: 'image.policy'; policy: ImagePolicy }
  /** All that the node's engine has. */
  | { type: 'node.images'; node: string; images: readonly EngineImage[] }
  | {
      type: 'registry.put'
      host: string
      user: string | null
      /** User and password, sealed by the cluster key. */
      sealed: string | null
      ca: string | null
      insecure: boolean
    }
  | { type: 'registry.remove'; host: string }
