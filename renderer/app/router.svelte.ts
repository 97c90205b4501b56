import { match, type Place, searchOf } from './routes.ts'

/** Where we are, over the History API. Filters and tabs live in the query so that back and sharing work. */
export class Router {
  #path = $state(location.pathname)
  #search = $state(location.search)
  readonly place: Place | undefined = $derived(match(this.#path))
  readonly #query = $derived(new URLSearchParams(this.#search))

  constructor() {
    addEventListener('popstate', () => this.#read())
    document.addEventListener('click', (event) => this.#follow(event))
  }

  query(name: string): string {
    return this.#query.get(name) ?? ''
  }

  go(address: string): void {
    history.pushState(null, '', address)
    this.#read()
    document.getElementById('page')?.scrollTo(0, 0)
  }

  /** Change parts of the query without leaving the page or filling the history. */
  setQuery(changes: Record<string, string | undefined>): void {
    const query = { ...Object.fromEntries(this.#query), ...changes }
    history.replaceState(null, '', this.#path + searchOf(query))
    this.#read()
  }

  #read(): void {
    this.#path = location.pathname
    this.#search = location.search
  }

  /** Plain clicks on our own links stay in the page; downloads, new tabs and other sites are the browser's. */
  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = event.target instanceof Element ? event.target.closest('a') : null
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return
    if (!match(link.pathname)) return
    event.preventDefault()
    this.go(link.pathname + link.search)
  }
}
