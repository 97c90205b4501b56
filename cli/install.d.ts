interface Lock {
  packages: Record<string, { version?: string; optional?: boolean }>
}
export declare function firstStale(lock: Lock, installed: Lock | undefined): string | undefined
export declare function ensureInstalled(): void
