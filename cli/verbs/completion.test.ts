import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { createProgram } from '../program.ts'
import { processTerminal } from '../terminal.ts'
import { completionScript, shells } from './completion.ts'

const program = createProgram(
  { terminal: processTerminal(), loadAgent: () => Promise.reject(new Error('not here')) },
  '0',
)

/** What real bash offers for a line whose last word is being typed. */
function complete(...words: string[]): string[] {
  const line = ['submarine', ...words].map((w) => `'${w}'`).join(' ')
  const script = `${completionScript(program, 'bash')}
COMP_WORDS=(${line}); COMP_CWORD=${words.length}; _submarine; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' })
  expect(stderr).toBe('')
  return stdout.split('\n').filter(Boolean)
}

describe('completion', () => {
  it('offers verbs, options and choices in bash', () => {
    expect(complete('exp')).toEqual(['experiment'])
    expect(complete('experiment', 'l')).toEqual(['list', 'logs'])
    expect(complete('experiment', 'logs', '--f')).toEqual(['--follow'])
    expect(complete('node', 'list', '-o', '')).toEqual(['table', 'json', 'yaml'])
    expect(complete('experiment', 'list', '--state', 'Su')).toEqual(['Succeeded'])
    expect(complete('--context', 'x', 'cluster', 't')).toEqual(['token'])
    expect(complete('completion', '')).toEqual(expect.arrayContaining([...shells]))
  })

  it('leaves the command of run to the shell', () => {
    expect(complete('run', '--', 'py')).toEqual([])
  })

  it.each(shells)('has every verb in %s', (shell) => {
    const script = completionScript(program, shell)
    for (const noun of program.commands) {
      expect(script).toContain(noun.name())
      for (const verb of noun.commands) expect(script).toContain(verb.name())
    }
  })
})
