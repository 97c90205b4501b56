import { z } from 'zod'

const List = z.array(z.object({ name: z.string(), version: z.string(), licence: z.string() }))
export type Dependency = z.infer<typeof List>[number]

/** The packages that are shipped with this console and its agents, as its build wrote them down. */
export class Dependencies {
  all = $state.raw<readonly Dependency[]>()
  problem = $state('')
  words = $state('')

  /** Those whose name or licence has every word that is looked for. */
  readonly found = $derived.by(() => {
    const words = this.words.toLowerCase().split(/\s+/).filter(Boolean)
    return (this.all ?? []).filter(({ name, licence }) => {
      const text = `${name} ${licence}`.toLowerCase()
      return words.every((word) => text.includes(word))
    })
  })

  async load(): Promise<void> {
    try {
      const response = await fetch('/dependencies.json')
      if (!response.ok) throw new Error(`HTTP ${response.status}`)
      this.all = List.parse(await response.json())
    } catch (error) {
      this.problem = `The list could not be read (${error instanceof Error ? error.message : String(error)}). \`npm run build\` writes it.`
    }
  }
}
