/** Who vouches for the members of the cluster. Fingerprints are SHA-256, lower-case hex. */
export type AuthorityCommand =
  /** `ca` takes the place of the authority `from`, which vouches for it by `link`; both count until all nodes have certificates of it. */
  | { type: 'authority.rotate'; from: string; ca: string; sealed_ca_key: string; link: string }
  /** The former authority counts no more, although some nodes have certificates of it. */
  | { type: 'authority.finish' }
  /** A node tells which certificate it has: the fingerprints of its key and of its authority. */
  | { type: 'node.certificate'; node: string; key: string; ca: string }
