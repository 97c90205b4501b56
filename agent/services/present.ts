type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Without the fields that were not given, which a stored command does not carry. */
export const present = <T extends object>(given: T): Present<T> =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Present<T>
