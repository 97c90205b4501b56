import path from 'node:path'

const lib = import.meta.dirname

/** Stands for agent/shipped-files.ts in the bundle, where all code lies in one folder. */
export const shippedFiles = {
  console: path.join(path.dirname(lib), 'console'),
  keeper: path.join(lib, 'keeper.js'),
  shim: path.join(lib, 'shim.js'),
}
