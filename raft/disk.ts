/** One change of a key-value database. */
export type KvOp =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: string }

/** An ordered key-value database: what the log store needs of LevelDB. */
export interface KeyValue {
  /** All of it or nothing. With `sync` durable when resolved, together with every batch before it; without, a crash may lose it. */
  batch(ops: readonly KvOp[], sync: boolean): Promise<void>
  get(key: string): Promise<Buffer | undefined>
  /** Keys of [from, to) with their values, in order. */
  range(from: string, to: string): AsyncIterable<readonly [string, Buffer]>
  close(): Promise<void>
}

/** A file being written, from its end on. Nothing of it is durable before `sync`, nor is its name; then both are. */
export interface FileWriter {
  write(data: Uint8Array): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/**
 * One folder of a machine's disk: databases and files, by names relative to it. The real one is level-disk.ts; a
 * simulation passes one that forgets, tears, flips and fills up.
 */
export interface Disk {
  /** Where it is, for messages. */
  readonly where: string
  /**
   * With `create` whatever an interrupted creation left is thrown away; without, the database must be there, and is
   * checked for what the database itself would let pass. Throws StoreError `missing`, `locked` or `corrupt`. Its
   * folder's entries are durable when resolved.
   */
  openDatabase(name: string, o: { readonly create: boolean }): Promise<KeyValue>
  /** Whether there is a database or file of this name. */
  exists(name: string): Promise<boolean>
  /** Bytes of a file; undefined when there is none. */
  size(name: string): Promise<number | undefined>
  /** Names in a folder; none when it does not exist. */
  list(folder: string): Promise<readonly string[]>
  /** A file's bytes from `offset` on, in pieces. */
  read(name: string, offset?: number): AsyncIterable<Uint8Array>
  /** Makes the file, or goes on at its end with `append`. Folders on the way are made. */
  write(name: string, o?: { readonly append?: boolean }): Promise<FileWriter>
  /** Durable when resolved; what stood at `to` is replaced. The file itself must have been synced. */
  rename(from: string, to: string): Promise<void>
  /** Nothing happens when it is not there. */
  remove(name: string): Promise<void>
}
