import path from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { hunt, mutate, readMutations } from './mutants.ts'
import { applyPatch, parseMutation } from './mutation.ts'

const root = path.resolve(import.meta.dirname, '../..')
const mutations = await readMutations()

const patch = (diff: string) => parseMutation('p', `Bug: b\nSource: s\nBreaks: x\n\n${diff}`)
const diff = `--- a/raft/x.ts
+++ b/raft/x.ts
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
`

describe('a patch', () => {
  test('applies where its lines are now', () => {
    const file = patch(diff).files[0]!
    expect(applyPatch('p', file, 'zero\none\ntwo\nthree\nfour')).toBe('zero\none\nTWO\nthree\nfour')
  })

  test('that fits nowhere, or in two places, is an error', () => {
    const file = patch(diff).files[0]!
    for (const text of ['one\n2\nthree', 'one\ntwo\nthree\none\ntwo\nthree'])
      expect(() => applyPatch('p', file, text)).toThrow(
        /p no longer applies to raft\/x\.ts: .* found [02] times/,
      )
  })

  test('says what it is, and is a diff', () => {
    expect(() => parseMutation('p', `Bug: b\n\n${diff}`)).toThrow('p: the line "Source: …" is missing')
    expect(() => patch('')).toThrow('p: there is no diff')
    expect(() => patch('--- a/raft/x.ts\n+++ b/raft/y.ts\n')).toThrow('no unified diff')
  })
})

/** Errors in the files that a mutation changes. */
function compile(
  changed: ReadonlyMap<string, string>,
  before?: ts.Program,
): { program: ts.Program; errors: string[] } {
  const host = ts.createCompilerHost(options)
  const texts = new Map([...changed].map(([name, text]) => [path.join(root, name), text]))
  const read = host.getSourceFile.bind(host)
  host.getSourceFile = (name, ...rest) => {
    const text = texts.get(name)
    if (text !== undefined) return ts.createSourceFile(name, text, options.target ?? ts.ScriptTarget.ES2024)
    return before?.getSourceFile(name) ?? read(name, ...rest)
  }
  const program = ts.createProgram([path.join(root, 'raft/index.ts')], options, host, before)
  const errors = [...texts.keys()].flatMap((name) => {
    const file = program.getSourceFile(name)
    if (!file) return [`${name} is no part of the library`]
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      (d) => `${name}: ${ts.flattenDiagnosticMessageText(d.messageText, '\n')}`,
    )
  })
  return { program, errors }
}

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2024,
  lib: ['lib.esnext.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  erasableSyntaxOnly: true,
  allowImportingTsExtensions: true,
  noEmit: true,
  skipLibCheck: true,
}

describe('the list of known bugs', () => {
  test('has at least twenty, each with its source', () => {
    expect(mutations.length).toBeGreaterThanOrEqual(20)
    expect(new Set(mutations.map((m) => m.bug)).size).toBe(mutations.length)
  })

  test('all of them apply to raft/, and what comes out compiles', async () => {
    const { program } = compile(new Map())
    for (const m of mutations) {
      const changed = await mutate(m)
      expect([...changed.keys()].filter((name) => !name.startsWith('raft/'))).toEqual([])
      const { errors } = compile(changed, program)
      expect(errors, m.name).toEqual([])
    }
  }, 300_000)

  // All of them: npm run sim -- --mutations.
  test.each(['ack-before-sync', 'checksum-not-looked-at', 'even-quorum', 'leader-counts-itself'])(
    'the simulation finds %s',
    async (name) => {
      const mutation = mutations.find((m) => m.name === name)
      const found = mutation && (await hunt(mutation, 50))
      expect(found?.violation, name).toBeDefined()
    },
    300_000,
  )
})
