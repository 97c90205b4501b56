/** A value within a filter (RFC 4515): nothing in it can end the filter or match more than itself. */
export const escapeFilter = (value: string): string =>
  value.replaceAll(/[\\*()\0]/g, (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`)

/** `(uid={user})` with its values filled in, in one go: a value may itself hold braces. */
export const fillFilter = (template: string, values: Readonly<Record<string, string>>): string =>
  template.replaceAll(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? escapeFilter(values[name] ?? '') : whole,
  )

/** The first value of a distinguished name: `cn=ml,ou=groups,dc=lab` → `ml`. Undefined where it has several parts. */
export function leadingValue(dn: string): string | undefined {
  const [, raw] = /^[\w.-]+\s*=\s*((?:\\.|[^\\,+])*)(?:,|$)/.exec(dn) ?? []
  return raw === undefined ? undefined : unescapeDn(raw.trim())
}

/** `\2C` is a byte, of which several may make one letter; `\,` is the character itself. */
function unescapeDn(value: string): string {
  return value.replaceAll(/((?:\\[0-9a-fA-F]{2})+)|\\(.)/g, (_, bytes: string | undefined, plain: string) =>
    bytes === undefined ? plain : Buffer.from(bytes.replaceAll('\\', ''), 'hex').toString('utf8'),
  )
}
