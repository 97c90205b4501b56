/** What an admin does with a host. */
export type NodeCommand =
  | { type: 'node.cordon'; node: string; reason: string }
  /** Cordoned too; `power_off`: its vote and leadership go to others. */
  | {
      type: 'node.drain'
      node: string
      reason: string
      deadline: string
      grace_seconds: number | null
      power_off: boolean
    }
  /** It will be restarted: drained until then, back in use when its new boot reports. */
  | {
      type: 'node.reboot_notice'
      node: string
      reason: string
      deadline: string
      grace_seconds: number | null
    }
  | { type: 'node.uncordon'; node: string }
  /** null takes a label away. */
  | { type: 'node.label'; node: string; labels: Readonly<Record<string, string | null>> }
  | { type: 'node.rename'; node: string; name: string }
  /** A person vouches that a silent host does not run: what is on hold there is released. */
  | { type: 'node.confirm_down'; node: string }
