import { huntAll, readMutations, type Hunted } from './mutants.ts'

/** Plants every known bug (or those named), simulates until a seed shows it, and prints the table. True: all were. */
export async function huntMutations(o: {
  names: string[]
  seeds: number
  workers: number
}): Promise<boolean> {
  const all = await readMutations()
  const unknown = o.names.filter((name) => !all.some((m) => m.name === name))
  if (unknown.length > 0)
    throw new Error(
      `There is no mutation ${unknown.join(', ')}. There are: ${all.map((m) => m.name).join(', ')}`,
    )
  const chosen = o.names.length > 0 ? all.filter((m) => o.names.includes(m.name)) : all
  const started = performance.now()
  const results = await huntAll(chosen, { ...o, onResult: (h) => console.log(row(h)) })
  const caught = results.filter((h) => h.seed !== undefined)
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log(`${caught.length} of ${results.length} known bugs found within ${o.seeds} seeds, ${seconds} s`)
  return caught.length === results.length
}

function row({ mutation, seed, violation }: Hunted): string {
  const how = violation === undefined ? 'NOT FOUND' : (violation.split('\n')[0] ?? '').slice(0, 160)
  const { name, bug, source } = mutation
  return `${name} – ${bug} (${source})\n  ${seed === undefined ? '' : `seed ${seed}, `}${how}`
}
