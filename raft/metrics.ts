/** Counters since open. Plain numbers: whoever exports them knows their format. */
export class Metrics {
  proposals = 0
  barriers = 0
  messagesIn = 0
  messagesOut = 0
  applied = 0
  flushes = 0
  syncs = 0
  syncedEntries = 0
  syncMsTotal = 0
  syncMsMax = 0
  roleChanges = 0
  ticksDropped = 0
  snapshotsTaken = 0
  snapshotsSent = 0
  snapshotsFailed = 0
  snapshotsInstalled = 0

  synced(ms: number, entries: number): void {
    this.syncs++
    this.syncedEntries += entries
    this.syncMsTotal += ms
    this.syncMsMax = Math.max(this.syncMsMax, ms)
  }

  values(): Record<string, number> {
    return { ...(this as unknown as Record<string, number>) }
  }
}
