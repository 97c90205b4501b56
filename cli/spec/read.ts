import { readFile, stat } from 'node:fs/promises'
import { isNode, LineCounter, parseDocument, type Document } from 'yaml'
import type { FieldError } from '../../contract/problem.ts'
import { type ExperimentInput, parseSpec } from '../../contract/spec.ts'
import { fieldLine, SpecError, UsageError } from '../failure.ts'
import type { Terminal } from '../terminal.ts'

const largest = 1024 ** 2

export interface SpecFile {
  readonly input: ExperimentInput
  /** An error that tells for each field where in the file it stands. */
  explain(errors: readonly FieldError[]): SpecError
}

/** Read a spec from a YAML or JSON file, or from stdin as `-`; every fault is answered with its line. */
export async function readSpecFile(terminal: Terminal, file: string): Promise<SpecFile> {
  const spec = parseSpecText(await textOf(terminal, file), file === '-' ? 'stdin' : file)
  const parsed = parseSpec(spec.input)
  if ('errors' in parsed) throw spec.explain(parsed.errors)
  return spec
}

/** Text of a file, or of stdin as `-`. */
export const textOf = (terminal: Terminal, file: string): Promise<string> =>
  file === '-' ? readStdin(terminal) : readText(file)

export function parseSpecText(text: string, name: string): SpecFile {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  if (document.errors.length)
    throw new SpecError(
      `${name} is not valid YAML`,
      document.errors.slice(0, 20).map((e) => `${place(e.pos[0])}  ${e.message.split('\n')[0] ?? ''}`),
      'Correct the lines listed above.',
    )
  let input: unknown
  try {
    input = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    throw new SpecError(`${name} is not valid YAML: ${(error as Error).message}`, [])
  }
  return {
    input: input as ExperimentInput,
    explain: (errors) =>
      new SpecError(
        `the experiment spec in ${name} is not valid`,
        errors.map((e) => `${place(offsetOf(document, e.pointer))}  ${fieldLine(e)}`),
      ),
  }
}

/** Where the value of a pointer begins; where it is missing, its nearest parent. */
function offsetOf(document: Document, pointer: string): number {
  const path = pointer.split('/').slice(1)
  const keys = path.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
  for (let length = keys.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(keys.slice(0, length), true)
    if (isNode(node) && node.range) return node.range[0]
  }
  return 0
}

async function readText(file: string): Promise<string> {
  let size: number
  try {
    size = (await stat(file)).size
  } catch {
    throw new UsageError(`cannot read ${file}`, 'Give the path of a YAML or JSON file, or - for stdin.')
  }
  if (size > largest) throw tooLarge()
  return readFile(file, 'utf8')
}

async function readStdin(terminal: Terminal): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of terminal.stdin as AsyncIterable<Buffer>) {
    if ((size += chunk.length) > largest) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

const tooLarge = () => new UsageError('a spec may have at most 1 MiB', 'Put data into the code folder.')
