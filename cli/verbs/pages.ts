interface Page<T> {
  items: T[]
  next_page_token: string | null
  resource_version: number
}

/** All pages of a list as one, up to a limit; the version is the first page's, where a watch may begin. */
export async function collect<T>(
  list: (query: { page_size: number; page_token?: string }) => Promise<Page<T>>,
  limit = Infinity,
): Promise<Page<T>> {
  let page = await list({ page_size: Math.min(limit, 200) })
  const { resource_version } = page
  const items = page.items
  while (page.next_page_token !== null && items.length < limit) {
    page = await list({ page_size: Math.min(limit - items.length, 200), page_token: page.next_page_token })
    items.push(...page.items)
  }
  return { items, next_page_token: page.next_page_token, resource_version }
}
