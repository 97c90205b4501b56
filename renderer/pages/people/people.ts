import type { Team, Token, User } from '../../../contract/people.ts'

export const isAdmin = (me: User | undefined): boolean => me?.rank === 'admin'

/** May they say who belongs to it? */
export const leads = (me: User | undefined, team: Team): boolean =>
  isAdmin(me) || team.members.some(({ user, rank }) => user === me?.name && rank === 'admin')

/** What a person's account is at present. */
export function accountState({ disabled, must_change }: User): {
  text: string
  tone: 'neutral' | 'good' | 'warn'
} {
  if (disabled) return { text: 'disabled', tone: 'neutral' }
  return must_change ? { text: 'one-time password', tone: 'warn' } : { text: 'active', tone: 'good' }
}

/** What a token is called by: a sign-in by the program it was made with. */
export const tokenTitle = ({ kind, name }: Token): string =>
  name || (kind === 'sign-in' ? 'Sign-in' : 'No name')

export const scopesText = (scopes: readonly string[]): string =>
  scopes.includes('*') ? 'all that you may' : scopes.join(', ')

/** `experiment:*, *:read` as a list; nothing stands for all. */
export const scopesFrom = (text: string): string[] => {
  const scopes = text.split(/[\s,]+/).filter((scope) => scope !== '')
  return scopes.length > 0 ? scopes : ['*']
}
