import { fileURLToPath } from 'node:url'

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

/** Programs and files that come with the agent's code. Packaging puts its own answer in place of this module. */
export const shippedFiles = {
  console: here('../renderer/dist'),
  keeper: here('./node/lease/keeper.ts'),
  shim: here('./node/process/shim.ts'),
}
