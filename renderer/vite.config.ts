import { fileURLToPath } from 'node:url'
import { svelte, vitePreprocess } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'
import { dependencyList } from './dependencies.ts'
import { firstLoad } from './first-load.ts'

const root = fileURLToPath(new URL('.', import.meta.url))

export default defineConfig({
  root,
  base: '/',
  plugins: [
    svelte({ configFile: false, preprocess: vitePreprocess() }),
    firstLoad(200_000),
    dependencyList(`${root}..`),
  ],
  build: {
    outDir: `${root}dist`,
    emptyOutDir: true,
    target: 'es2023',
    // The content security policy has no data: for fonts, and inline scripts are forbidden.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // In one chunk, in order: what forbids Zod to compile runs before the first schema is made.
    rolldownOptions: {
      output: {
        codeSplitting: { groups: [{ name: 'contract', test: /app\/no-eval|\/contract\/|\/zod\// }] },
      },
    },
  },
  server: {
    // During development the page is served by Vite; the API by an agent or its double.
    proxy: {
      '/api': { target: process.env['SUBMARINE_AGENT'] ?? 'http://127.0.0.1:7460', changeOrigin: true },
      '/demo.json': process.env['SUBMARINE_AGENT'] ?? 'http://127.0.0.1:7460',
    },
  },
})
