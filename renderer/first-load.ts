import { gzipSync } from 'node:zlib'
import type { Plugin } from 'vite'

/** Prints how much script a first visit loads (entry and its static imports, gzipped); fails the build above `limit`. */
export function firstLoad(limit: number): Plugin {
  return {
    name: 'first-load',
    apply: 'build',
    generateBundle(_, bundle) {
      const seen = new Set<string>()
      let bytes = 0
      const visit = (name: string) => {
        const chunk = bundle[name]
        if (seen.has(name) || chunk?.type !== 'chunk') return
        seen.add(name)
        bytes += gzipSync(chunk.code).length
        chunk.imports.forEach(visit)
      }
      for (const chunk of Object.values(bundle))
        if (chunk.type === 'chunk' && chunk.isEntry) visit(chunk.fileName)
      this.info(`first load: ${(bytes / 1000).toFixed(1)} kB of script, gzipped (limit ${limit / 1000} kB)`)
      if (bytes > limit) this.error(`first load is ${bytes} bytes, above the limit of ${limit}`)
    },
  }
}
