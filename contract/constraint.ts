import { parseBytes } from './resources.ts'
import type { Affinity, Constraint } from './scheduling.ts'

/** What can be said of a node. `order`: its values are compared by size or version, so `>=` means something. */
const attributes: Record<string, { readonly order?: 'bytes' | 'version' }> = {
  node: {},
  arch: {},
  kernel: { order: 'version' },
  kerberos: { order: 'version' },
  'gpu.model': {},
  'gpu.memory': { order: 'bytes' },
  'gpu.driver': { order: 'version' },
  'gpu.cuda': { order: 'version' },
}
const known = [...Object.keys(attributes), 'label.KEY'].join(', ')
const labelKey = /^label\.[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/
const version = /^v?\d+(\.\d+)*([.+~-][A-Za-z0-9.+~-]*)?$/
const mostValues = 64

type Fault = { error: string }
const expected = (input: string): Fault => ({
  error: `expected a constraint such as gpu.model = A100, label.zone in (a, b), gpu.memory >= 40Gi or label.ssd exists, not ${quote(input)}`,
})

/** `gpu.model = A100`, `label.zone not in (a, b)`, `label.ssd exists`; an error text when it is none of them. */
export function parseConstraint(input: string): Constraint | Fault {
  const text = input.trim()
  const attribute = /^[A-Za-z][A-Za-z0-9._/-]*/.exec(text)?.[0]
  if (!attribute) return expected(input)
  const rest = text.slice(attribute.length).trim()
  const bare = /^(?:(not)\s+)?exists$/i.exec(rest)
  if (bare) return checkConstraint({ attribute, operator: bare[1] ? 'not exists' : 'exists', values: [] })
  const list = /^(?:(not)\s+)?in\s*\(([^()]*)\)$/i.exec(rest)
  if (list) {
    const values = (list[2] ?? '').split(',').map(unquote)
    return checkConstraint({ attribute, operator: list[1] ? 'not in' : 'in', values })
  }
  const compared = /^(==?|!=|>=|<=)\s*([^\s=<>!].*)$/.exec(rest)
  if (!compared) return expected(input)
  const operator = (compared[1] === '==' ? '=' : compared[1]) as Constraint['operator']
  return checkConstraint({ attribute, operator, values: [unquote(compared[2] ?? '')] })
}

/** The same with a weight from −100 to 100 behind it, `label.zone = a weight -20`; 50 where none is given. */
export function parseAffinity(input: string): Affinity | Fault {
  const weighed = /^(.*\S)\s+weight\s+(\S+)$/is.exec(input.trim())
  const constraint = parseConstraint(weighed?.[1] ?? input)
  if ('error' in constraint) return constraint
  return checkAffinity({ ...constraint, weight: weighed ? Number(weighed[2]) : 50 })
}

export function checkAffinity(affinity: Affinity): Affinity | Fault {
  const { weight } = affinity
  if (!Number.isInteger(weight) || Math.abs(weight) > 100 || weight === 0)
    return { error: 'expected a weight from -100 to 100, other than 0' }
  const checked = checkConstraint(affinity)
  return 'error' in checked ? checked : affinity
}

/** Does it ask for something that nodes have, in a way that makes sense? */
export function checkConstraint(constraint: Constraint): Constraint | Fault {
  const { attribute, operator, values } = constraint
  const about = labelKey.test(attribute)
    ? {}
    : Object.hasOwn(attributes, attribute)
      ? attributes[attribute]
      : undefined
  if (!about) return { error: `nodes have no attribute ${quote(attribute)}; known: ${known}` }
  const fault = faultOfCount(operator, values)
  if (fault) return { error: fault }
  const ordered = operator === '>=' || operator === '<='
  if (ordered && !about.order) return { error: `${attribute} has no order: use =, !=, in or not in` }
  if (about.order === 'bytes')
    for (const value of values) {
      const bytes = parseBytes(value)
      if (typeof bytes === 'object') return bytes
    }
  const wrong = ordered && about.order === 'version' && values.find((value) => !version.test(value))
  if (wrong) return { error: `expected a version such as 535.104 after ${operator}, not ${quote(wrong)}` }
  return constraint
}

function faultOfCount(operator: Constraint['operator'], values: readonly string[]): string | undefined {
  const least = operator.endsWith('exists') ? 0 : 1
  const most = operator.endsWith('in') ? mostValues : least
  if (values.length < least || values.length > most)
    return least === most
      ? `"${operator}" takes ${most === 0 ? 'no value' : 'one value'}`
      : `"${operator}" takes 1 to ${mostValues} values`
  const bad = values.find(
    (value) => value === '' || value.length > 256 || /[\u0000-\u001f\u007f]/.test(value),
  )
  return bad === undefined ? undefined : 'expected values of 1 to 256 characters, none a control character'
}

/** As a person would write it, and as `parseConstraint` reads it. */
export function formatConstraint({ attribute, operator, values }: Constraint): string {
  if (operator.endsWith('exists')) return `${attribute} ${operator}`
  if (operator.endsWith('in')) return `${attribute} ${operator} (${values.join(', ')})`
  return `${attribute} ${operator} ${values[0] ?? ''}`
}

const unquote = (text: string) => text.trim().replace(/^(["'])(.*)\1$/, '$2')
const quote = (value: string) => JSON.stringify(value.slice(0, 60))
