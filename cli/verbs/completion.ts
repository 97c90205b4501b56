import { Argument, type Command } from 'commander'
import type { Tool } from '../tool.ts'

export const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

/** A place in the command tree: what may be typed there. */
interface Place {
  /** Words leading here, joined by a space; empty at the top. */
  path: string
  words: { text: string; about: string }[]
  /** Choices of options that take one of a few values. */
  values: { flags: string[]; choices: string[] }[]
}

export function completionVerb(program: Command, tool: Tool): void {
  program
    .command('completion')
    .description('a script that lets the shell complete these commands')
    .addArgument(new Argument('<shell>').choices(shells))
    .addHelpText(
      'after',
      '\nbash: source <(submarine completion bash)\nfish: submarine completion fish | source',
    )
    .action((shell: Shell) => tool.terminal.out(completionScript(program, shell)))
}

export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program, '')
  if (shell === 'fish') return fishScript(places)
  return shell === 'bash' ? bashScript(places) : zshScript(places)
}

function placesOf(command: Command, path: string): Place[] {
  const options = [...command.options.filter((o) => !o.hidden), { flags: '-h, --help', long: '--help' }]
  const words = [
    ...command.commands.map((c) => ({ text: c.name(), about: c.description() })),
    ...command.registeredArguments.flatMap((a) => (a.argChoices ?? []).map((text) => ({ text, about: '' }))),
    ...options.flatMap((o) =>
      o.long ? [{ text: o.long, about: 'description' in o ? o.description : '' }] : [],
    ),
  ]
  const values = command.options.flatMap((o) =>
    o.argChoices ? [{ flags: [o.short, o.long].filter((f) => f !== undefined), choices: o.argChoices }] : [],
  )
  const below = command.commands.flatMap((c) => placesOf(c, path ? `${path} ${c.name()}` : c.name()))
  return [{ path, words, values }, ...below]
}

/** Works out the place from the words before the cursor, then offers its words; else the shell's own files. */
function bashScript(places: Place[]): string {
  const cases = places.map((p) => `    '${p.path}') words='${p.words.map((w) => w.text).join(' ')}' ;;`)
  const values = places.flatMap((p) =>
    p.values.flatMap((v) =>
      v.flags.map((flag) => `    '${p.path}:${flag}') words='${v.choices.join(' ')}' ;;`),
    ),
  )
  return `# submarine completion for bash
_submarine() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path= words= word try i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -- ]] && return
    [[ $word == -* ]] && continue
    try=\${path:+$path }$word
    case $try in ${places
      .filter((p) => p.path)
      .map((p) => `'${p.path}'`)
      .join('|')}) path=$try ;; esac
  done
  case $path:$previous in
${values.join('\n')}
  esac
  [[ $words ]] || case $path in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _submarine submarine
`
}

const zshScript = (places: Place[]) =>
  `#compdef submarine\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(places).replace('for bash', 'for zsh')}`

function fishScript(places: Place[]): string {
  const quote = (text: string) => `'${text.replaceAll(/[\\']/g, '\\$&')}'`
  const lines = places.flatMap((p) => {
    const at = p.path ? `__submarine_at ${p.path}` : '__submarine_at'
    const words = p.words.map(({ text, about }) => {
      const word = text.startsWith('--') ? `-l ${text.slice(2)}` : `-f -a ${text}`
      return `complete -c submarine -n ${quote(at)} ${word} -d ${quote(about)}`
    })
    const values = p.values.flatMap((v) =>
      v.flags
        .filter((flag) => flag.startsWith('--'))
        .map(
          (flag) =>
            `complete -c submarine -n ${quote(at)} -x -l ${flag.slice(2)} -a ${quote(v.choices.join(' '))}`,
        ),
    )
    return [...words, ...values]
  })
  return `# submarine completion for fish
function __submarine_at
  set -l typed (commandline -opc)
  set -e typed[1]
  set typed (string match -v -- '-*' $typed)
  test "$typed[1..(count $argv)]" = "$argv"
  and begin; test (count $argv) -eq 2; or test (count $typed) -eq (count $argv); end
end
${lines.join('\n')}
`
}
