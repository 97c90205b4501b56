import { parseArgs, type ParseArgsConfig } from 'node:util'

type Options = NonNullable<ParseArgsConfig['options']>

/** The arguments of a long command. What is wrong with them is said with the usage, and `--help` prints it; both end the process. */
export function readArguments<T extends Options>(usage: string, options: T) {
  const args = process.argv.slice(2)
  if (args.includes('--help')) {
    console.log(usage)
    process.exit(0)
  }
  try {
    return parseArgs<{ args: string[]; allowPositionals: true; options: T }>({
      args,
      allowPositionals: true,
      options,
    })
  } catch (error) {
    return misused(error instanceof Error ? error.message : String(error), usage)
  }
}

export function misused(message: string, usage: string): never {
  console.error(`${message}\n\n${usage}`)
  process.exit(2)
}
